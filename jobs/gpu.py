"""What steps compute on a worker's GPU where it holds one, each unit held against the CPU's bits before it is kept.

The kernels of `dkvb.gpu` give the CPU's bits by their construction, so results carry no trace of the device. That a
card, a driver and a version of Triton keep to it is not taken on trust: a little of every unit is computed on the CPU
as well, and where that differs the unit is refused.

n: items; c: codebooks; m: keys of a codebook; d_z: width of an embedding; d_k: width of a key.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from dkvb.codes import encode
from dkvb.keys import KeySettings, fit_codebooks
from dkvb.neighbours import neighbours
from jobs.errors import GpuDiffers
from jobs.worker import device

COMPARED = 64
"""Items of a block that the CPU computes too: about a hundredth."""
BATCHES = 4
"""Batches to which a codebook is fitted on both."""


def codes_of(z: Tensor, projection: Tensor, keys: Tensor, *, selectable: Tensor | None) -> Tensor:
    """`dkvb.codes.encode`, on this worker's GPU where it holds one; tensors on the CPU.

    raises: ShapeMismatch, BadSetting, NoTriton, GpuDiffers.
    """
    if device().type == "cpu":
        return encode(z, projection, keys, selectable=selectable)
    from dkvb.gpu.codes import encode as encode_on_gpu

    def on(where: torch.device, items: Tensor) -> Tensor:
        compute = encode if where.type == "cpu" else encode_on_gpu
        parts = (part.to(where) for part in (items, projection, keys))
        return compute(*parts, selectable=None if selectable is None else selectable.to(where))

    return compared("codes", z, on, device())


def lists_of(z: Tensor, projection: Tensor, keys: Tensor, *, selectable: Tensor, r: int) -> Tensor:
    """`dkvb.neighbours.neighbours`, on this worker's GPU where it holds one; tensors on the CPU.

    raises: ShapeMismatch, BadSetting, NoTriton, GpuDiffers.
    """
    if device().type == "cpu":
        return neighbours(z, projection, keys, selectable=selectable, r=r)
    from dkvb.gpu.neighbours import neighbours as neighbours_on_gpu

    def on(where: torch.device, items: Tensor) -> Tensor:
        compute = neighbours if where.type == "cpu" else neighbours_on_gpu
        return compute(*(part.to(where) for part in (items, projection, keys)), selectable=selectable.to(where), r=r)

    return compared("neighbours", z, on, device())


def keys_of(
    z: Tensor, codebooks: Sequence[int], size: tuple[int, int], *, seed: int, settings: KeySettings
) -> tuple[Tensor, Tensor]:
    """`dkvb.keys.fit_codebooks`, on this worker's GPU where it holds one and gives equal bits; tensors on the CPU.

    Before the GPU fits, the first of the codebooks is fitted to a few batches of the items on both.
    raises: BadSetting, NoTriton, GpuDiffers.
    """
    if device().type == "cpu" or not settings.dead:  # without replacement sums are rounded, and the device would tell
        return fit_codebooks(z, codebooks, size, seed=seed, settings=settings)
    from dkvb.gpu.keys import fit_codebooks as fit_on_gpu

    few, short = z[: BATCHES * settings.batch], replace(settings, epochs=min(1, settings.epochs))

    def first(where: torch.device, items: Tensor) -> Tensor:
        fit = fit_codebooks if where.type == "cpu" else fit_on_gpu
        return fit(items.to(where), codebooks[:1], size, seed=seed, settings=short)[1][0]

    alike("keys", first(device(), few).cpu(), first(torch.device("cpu"), few), device())
    projection, keys = fit_on_gpu(z.to(device()), codebooks, size, seed=seed, settings=settings)
    return projection.cpu(), keys.cpu()


def compared(what: str, z: Tensor, on: Callable[[torch.device, Tensor], Tensor], gpu: torch.device) -> Tensor:
    """What a GPU computes of items, if some of them, spread over all, are the same on the CPU.

    z: (n, d_z); on: computes items, row by row, on a device, and leaves the result there.
    returns: on the CPU.
    raises: GpuDiffers.
    """
    found = on(gpu, z).cpu()
    rows = torch.linspace(0, len(z) - 1, min(len(z), COMPARED)).long()
    expected = on(torch.device("cpu"), z[rows])
    alike(what, found[rows], expected, gpu)
    return found


def alike(what: str, found: Tensor, expected: Tensor, gpu: torch.device) -> None:
    """Check that a GPU and the CPU computed the same rows; raises: GpuDiffers."""
    differ = int((found != expected).flatten(1).any(1).sum())
    if differ:
        name = torch.cuda.get_device_name(gpu) if gpu.type == "cuda" else str(gpu)
        raise GpuDiffers(
            f"{what}: on {name} {differ} of {len(found)} rows that were compared came out otherwise than on the CPU, "
            "expected equal bits; nothing of this unit was kept. Run again without the GPU (--gpus 0; with --serial "
            "hide it by CUDA_VISIBLE_DEVICES), and report the card, its driver and the versions of torch and Triton"
        )
