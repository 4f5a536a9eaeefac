"""Parts of the check: each computes on the device, is timed, and is held against the CPU."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial

import torch
from torch import Tensor

import dkvb.codes
import dkvb.gpu.codes
import dkvb.gpu.keys
import dkvb.gpu.neighbours
import dkvb.gpu.sweep
import dkvb.gpu.values
import dkvb.keys
import dkvb.neighbours
import dkvb.sweep
import dkvb.values
from dkvb.counts import class_counts
from dkvb.keys import KeySettings
from dkvb.sweep import Items
from dkvb.training import TrainSettings, errors, errors_
from tests.gpu.limits import Limits, seconds, timed
from tests.gpu.scene import Scene, removal_table

BLOCK = 1 << 16
"""Items that are timed together where there may be time for a part of them only."""
PART_S = 20.0
"""Seconds that one part may take at ImageNet-1k size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A row of the table."""

    part: str
    size: str
    done: str
    """What was timed."""
    seconds: float
    rate: str
    limit: float | None = None
    """Share of the card's limit; None: none was measured."""
    of: str = ""
    """Which limit."""
    compared: str = ""
    """What was held against the CPU."""
    differ: int = 0
    """How much of it was not equal, where equality is promised."""


@dataclass(frozen=True)
class Parts:
    """All that is checked at one size; what one part makes, the next ones use."""

    scene: Scene
    limits: Limits
    made: dict[str, Tensor] = field(default_factory=dict)

    def all(self) -> Iterator[tuple[str, Callable[[], Result]]]:
        """Names and work of the parts, in the order of their worth."""
        for part in (self.codes, self.counts, self.neighbours, self.sweep, self.values, self.step, self.keys):
            yield f"{part.__name__}, {self.scene.size.name}", part

    @cached_property
    def codes_made(self) -> Tensor:
        """(items, c) int16: codes where they were computed, the rest drawn from them."""
        size = self.scene.size
        found = self.made.get("codes")
        if found is None:
            found = self.encoded(self.scene.z[:BLOCK])
        again = torch.randint(len(found), (size.items - len(found),), generator=self.scene.gen, device=found.device)
        return torch.cat([found, found[again]])

    def in_part(self, compute: Callable[[Tensor], Tensor]) -> tuple[Tensor, float]:
        """Compute all items, or as many as there is time for: the results, and seconds."""
        z, device = self.scene.z, self.scene.device
        compute(z[:BLOCK])  # compiles
        done, spent = [], 0.0
        for rows in z.split(BLOCK):
            found, took = timed(partial(compute, rows), device)
            done.append(found)
            spent += took
            if spent > PART_S:
                break
        return torch.cat(done), spent

    def encoded(self, z: Tensor) -> Tensor:
        """Codes, on the device."""
        scene = self.scene
        return dkvb.gpu.codes.encode(z, scene.projection, scene.keys, selectable=scene.selectable)

    def listed(self, z: Tensor) -> Tensor:
        """Neighbours, on the device."""
        scene = self.scene
        parts = (scene.projection, scene.keys)
        return dkvb.gpu.neighbours.neighbours(z, *parts, selectable=scene.selectable, r=scene.size.r)

    def codes(self) -> Result:
        """Codes: to the last bit."""
        size, scene = self.scene.size, self.scene
        found, spent = self.in_part(self.encoded)
        self.made["codes"] = found
        rows = scene.spread(size.compared, len(found))
        there = [part.cpu() for part in (scene.z[rows.to(scene.device)], scene.projection, scene.keys)]
        expected = dkvb.codes.encode(*there, selectable=scene.selectable.cpu())
        flops = 2 * len(found) * size.c * size.d_k * (size.m + size.d_z) / spent
        return Result(
            part="codes",
            size=size.name,
            done=f"{len(found):,} of {size.items:,} items",
            seconds=spent,
            rate=f"{flops / 1e12:.3g} TFLOP/s",
            limit=flops / self.limits.flops,
            of="multiply-adds",
            compared=f"{expected.numel():,} codes",
            differ=int((found[rows.to(found.device)].cpu() != expected).sum()),
        )

    def counts(self) -> Result:
        """Counts: whole numbers, so the same."""
        size, codes = self.scene.size, self.codes_made
        labels, device = self.scene.labels, self.scene.device
        spent = seconds(lambda: class_counts(codes, labels, classes=size.v, m=size.m), device, repeats=1)
        some = slice(0, min(size.c, 8))
        found = class_counts(codes[:, some], labels, classes=size.v, m=size.m)
        expected = class_counts(codes[:, some].cpu(), labels.cpu(), classes=size.v, m=size.m)
        return Result(
            part="counts",
            size=size.name,
            done=f"{codes.numel():,} codes",
            seconds=spent,
            rate=f"{codes.numel() / spent / 1e9:.3g} G codes/s",
            limit=(codes.nbytes + 4 * size.v * size.c * size.m) / spent / self.limits.copied,
            of="copy",
            compared=f"{expected.numel():,} counts",
            differ=int((found.cpu() != expected).sum()),
        )

    def neighbours(self) -> Result:
        """Neighbours in order: to the last bit."""
        size, scene = self.scene.size, self.scene
        found, spent = self.in_part(self.listed)
        done, found = len(found), found[: size.swept].clone()
        self.made["lists"] = found
        rows = scene.spread(size.compared, len(found))
        there = [part.cpu() for part in (scene.z[rows.to(scene.device)], scene.projection, scene.keys)]
        expected = dkvb.neighbours.neighbours(*there, selectable=scene.selectable.cpu(), r=size.r)
        flops = 2 * done * size.c * size.d_k * (size.m + size.d_z) / spent
        return Result(
            part="neighbours",
            size=size.name,
            done=f"{done:,} items, {size.r} in order",
            seconds=spent,
            rate=f"{flops / 1e12:.3g} TFLOP/s of one pass",
            limit=flops / self.limits.flops,
            of="multiply-adds",
            compared=f"{expected.numel():,} neighbours",
            differ=int((found[rows.to(found.device)].cpu() != expected).sum()),
        )

    def sweep(self) -> Result:
        """A sweep over all classes: the same predictions, as sums are added in the CPU's order."""
        size, scene = self.scene.size, self.scene
        codes, labels = self.codes_made, scene.labels
        table = removal_table(class_counts(codes, labels, classes=size.v, m=size.m), size.budgets).cpu().numpy()
        forget = [[k] for k in range(size.v)]
        model = scene.model(self.values_made)
        lists = self.made.get("lists")
        if lists is None:
            lists = self.listed(scene.z[: size.swept])

        def swept(rows: slice, *, on_cpu: bool = False) -> Tensor:
            items = Items(scene.z[: len(lists)], lists[:, :, 0].contiguous(), lists).take(rows)
            if on_cpu:
                items = Items(items.z.cpu(), items.codes.cpu(), items.neighbours.cpu())
                here = scene.model(model.values.cpu())
                return torch.stack(dkvb.sweep.sweep(here, items, table, budgets=size.budgets, forget=forget))
            return torch.stack(dkvb.gpu.sweep.sweep(model, items, table, budgets=size.budgets, forget=forget))

        first = slice(0, max(1, len(lists) // 50))
        swept(first)  # compiles
        found, spent = timed(lambda: swept(first), scene.device)
        done = int(min(len(lists), max(first.stop, first.stop * PART_S / spent)))
        found, spent = timed(lambda: swept(slice(0, done)), scene.device)
        few = slice(0, min(done, max(2, size.compared // 16)))
        expected = swept(few, on_cpu=True)
        whole = spent * len(lists) / done
        return Result(
            part="sweep",
            size=size.name,
            done=f"{done:,} of {len(lists):,} items, {size.v} classes x {size.budgets} N",
            seconds=spent,
            rate=f"{done * size.v / spent / 1e6:.3g} M items x classes/s; {whole:.3g} s for all",
            compared=f"{expected.numel():,} predictions",
            differ=int((found[..., few].cpu() != expected).sum()),
        )

    @cached_property
    def values_made(self) -> Tensor:
        """(c, m, v) float32: random, as what a sweep adds up does not matter to it."""
        size = self.scene.size
        return torch.randn(size.c, size.m, size.v, generator=self.scene.gen, device=self.scene.device)

    def epoch_of_values(self) -> float:
        """Seconds of an epoch of training."""
        size, labels = self.scene.size, self.scene.labels
        features = dkvb.gpu.values.PairFeatures.of(self.codes_made, size.m)
        weights, velocity = features.weights(size.v), features.weights(size.v)

        def epoch() -> None:
            weights.add_(velocity, alpha=0.9)
            error = errors_(features.forward(weights), labels, 0.0)
            features.accelerate(weights, velocity, error, lr=1.0, momentum=0.9)

        return seconds(epoch, self.scene.device, repeats=2)

    def values(self) -> Result:
        """Training of values: an epoch timed; a small training held against the CPU's, within rounding."""
        size, scene = self.scene.size, self.scene
        spent = self.epoch_of_values()
        moved = 2 * 4 * size.items * size.c * size.v + 16 * size.items * size.v + 20 * size.c * size.m * size.v
        few = slice(0, min(size.items, 4096))
        codes, labels, settings = self.codes_made[few, :8], scene.labels[few], TrainSettings(epochs=5, validation=0.0)
        m, v = size.m, size.v
        expected, _ = dkvb.values.fit_values(codes.cpu(), labels.cpu(), settings, m=m, v=v, seed=1)
        found = dkvb.gpu.values.fit_values(codes.contiguous(), labels, settings, m=m, v=v, seed=1)[0].cpu()
        logits = [
            dkvb.values.CodeFeatures.of(codes.cpu(), size.m).forward(part.flatten(0, 1)) for part in (found, expected)
        ]
        unlike = logits[0].argmax(1) != logits[1].argmax(1)
        top = logits[1].topk(2, dim=1).values
        near = (top[:, 0] - top[:, 1]) <= 1e-5 * (1 + top[:, 0].abs())
        apart = float((found - expected).abs().max())
        return Result(
            part="values",
            size=size.name,
            done=f"an epoch of {size.items:,} items, {size.v} classes",
            seconds=spent,
            rate=f"{moved / spent / 1e9:.4g} GB/s asked for (caches serve some)",
            limit=moved / spent / self.limits.copied,
            of="copy",
            compared=f"trained values within {apart:.1g}; {int(unlike.sum())} of {len(unlike):,} predictions other, "
            f"{int((unlike & near).sum())} of them near ties",
            differ=int((unlike & ~near).sum()) + int(apart > 1e-4),
        )

    def step(self) -> Result:
        """One pass forward and one step back, of equal values and errors: to the last bit."""
        size, scene = self.scene.size, self.scene
        few = min(size.items, 20_000)
        codes, labels = self.codes_made[:few, : min(size.c, 4)].contiguous(), scene.labels[:few]
        there = dkvb.gpu.values.PairFeatures.of(codes, size.m)
        here = dkvb.values.CodeFeatures.of(codes.cpu(), size.m)
        weights = torch.randn(there.size, size.v, generator=scene.gen, device=scene.device)
        velocity = torch.randn(there.size, size.v, generator=scene.gen, device=scene.device)
        velocity[torch.bincount(there.pairs.flatten(), minlength=there.size) == 0] = 0  # as where none was ever moved
        kept = weights.cpu(), velocity.cpu()
        logits, spent = timed(lambda: there.forward(weights), scene.device)
        expected = here.forward(kept[0])
        error = errors(expected, labels.cpu(), 0.0)
        there.accelerate(weights, velocity, error.to(scene.device), lr=0.7, momentum=0.9)
        here.accelerate(*kept, error, lr=0.7, momentum=0.9)
        pairs = ((logits.cpu(), expected), (weights.cpu(), kept[0]), (velocity.cpu(), kept[1]))
        return Result(
            part="a step of values",
            size=size.name,
            done=f"{few:,} items, {codes.shape[1]} codebooks",
            seconds=spent,
            rate="",
            compared=f"{sum(part.numel() for part, _ in pairs):,} numbers",
            differ=sum(int((one != other).sum()) for one, other in pairs),
        )

    def keys(self) -> Result:
        """An epoch of key fitting, all codebooks at once: to the last bit."""
        size, scene = self.scene.size, self.scene
        z, books, settings = scene.z[: size.fitted], range(size.c), KeySettings(epochs=1)
        sizes = (size.m, size.d_k)
        dkvb.gpu.keys.fit_codebooks(z[: settings.batch], books, sizes, seed=1, settings=settings)  # compiles
        (_, found), spent = timed(
            lambda: dkvb.gpu.keys.fit_codebooks(z, books, sizes, seed=1, settings=settings), scene.device
        )
        few, some = z[: min(len(z), 20_000)], range(min(size.c, 2))
        expected = dkvb.keys.fit_codebooks(few.cpu(), some, sizes, seed=1, settings=settings)[1]
        if len(few) < len(z):
            found = dkvb.gpu.keys.fit_codebooks(few, some, sizes, seed=1, settings=settings)[1]
        flops = 2 * len(z) * size.c * size.m * size.d_k / spent
        return Result(
            part="keys",
            size=size.name,
            done=f"an epoch of {len(z):,} items",
            seconds=spent,
            rate=f"{len(z) / spent:,.0f} items/s, {flops / 1e12:.3g} TFLOP/s",
            limit=flops / self.limits.flops,
            of="multiply-adds",
            compared=f"{expected.numel():,} numbers",
            differ=int((found[: len(expected)].cpu() != expected).sum()),
        )
