"""Images a second that backbones embed: from batches that are decoded, and from JPEGs. Weights are random."""

import io
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import timm
import torch
from PIL import Image
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from tests.gpu.limits import Limits, timed
from tests.gpu.parts import Result

NAMES = ("vit_base_patch32_224", "resnet50")
TINY_NAMES = ("resnet10t.c3_in1k",)


@dataclass(frozen=True, slots=True)
class Embedding:
    """One backbone on the device."""

    name: str
    device: torch.device
    limits: Limits
    batch: int
    batches: int

    def from_batches(self) -> Result:
        """Decoded batches in pinned memory, moved and embedded in single precision."""
        model, images = self.model(), self.some_batches()
        self.embed(model, images[:1])
        found, spent = timed(lambda: self.embed(model, images), self.device)
        with FlopCounterMode(display=False) as counted, torch.no_grad():
            model(images[0][:1].to(self.device))
        number, flops = len(found), counted.get_total_flops() * len(found) / spent
        return Result(
            part=f"{self.name}, decoded",
            size=f"batches of {self.batch}",
            done=f"{number:,} images",
            seconds=spent,
            rate=f"{number / spent:,.0f} images/s, {flops / 1e12:.3g} TFLOP/s",
            limit=flops / self.limits.matrix,
            of="matrix product",
        )

    def from_jpegs(self) -> Result:
        """JPEGs of 500 x 375, decoded, resized and cropped by Pillow on all CPUs while the device embeds."""
        model = self.model()
        files = [jpeg(seed) for seed in range(min(64, self.batch))]
        number = self.batch * self.batches
        encoded = [files[i % len(files)] for i in range(number)]
        with ThreadPoolExecutor(os.cpu_count()) as decoders:
            self.embed(model, decoded(decoders, encoded[: self.batch], self.batch))
            _, alone = timed(lambda: [*decoded(decoders, encoded, self.batch)], self.device)
            found, spent = timed(lambda: self.embed(model, decoded(decoders, encoded, self.batch)), self.device)
        return Result(
            part=f"{self.name}, JPEGs",
            size=f"batches of {self.batch}",
            done=f"{len(found):,} images, {os.cpu_count()} CPUs",
            seconds=spent,
            rate=f"{number / spent:,.0f} images/s; decoding alone {number / alone:,.0f}",
            limit=alone / spent,
            of="decoding alone",
        )

    def model(self) -> torch.nn.Module:
        """The backbone, random, to embeddings."""
        torch.manual_seed(1)
        made: torch.nn.Module = timm.create_model(self.name, pretrained=False, num_classes=0)
        return made.eval().to(self.device)

    def some_batches(self) -> list[Tensor]:
        """Noise in pinned memory."""
        gen = torch.Generator().manual_seed(1)
        one = torch.randn(self.batch, 3, 224, 224, generator=gen)
        return [one.pin_memory() if self.device.type == "cuda" else one] * self.batches

    def embed(self, model: torch.nn.Module, batches: "list[Tensor] | Iterator[Tensor]") -> Tensor:
        """(images, width): embeddings, on the device."""
        with torch.no_grad():
            return torch.cat([model(batch.to(self.device, non_blocking=True)) for batch in batches])


def jpeg(seed: int) -> bytes:
    """A JPEG of smooth noise: as large as photographs are."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (47, 63, 3), dtype=np.uint8)).resize(
        (500, 375), Image.Resampling.BICUBIC
    )
    file = io.BytesIO()
    coarse.save(file, "JPEG", quality=90)
    return file.getvalue()


def decoded(decoders: ThreadPoolExecutor, encoded: list[bytes], size: int) -> Iterator[Tensor]:
    """Batches in order; the next is decoded while one is used."""
    pending = [decoders.submit(decode, file) for file in encoded]
    for begin in range(0, len(pending), size):
        yield torch.stack([one.result() for one in pending[begin : begin + size]])
        pending[begin : begin + size] = [None] * len(pending[begin : begin + size])  # type: ignore[list-item]


def decode(file: bytes) -> Tensor:
    """(3, 224, 224) float32."""
    image = Image.open(io.BytesIO(file)).convert("RGB")
    image = image.resize((256 * image.width // image.height, 256), Image.Resampling.BICUBIC)
    left, top = (image.width - 224) // 2, 16
    pixels = np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32)
    return torch.from_numpy(pixels / 127.5 - 1).permute(2, 0, 1)
