"""The one inner loop of the package on CPUs: inner products of 16 items with 16 columns at a time.

Projections, codes, ordered neighbours, key fitting and the sweep's searches are all built on it. It adds in one fixed
order, the bias first and then along the width, with fused multiply-adds: a score depends on its item and its column
alone, never on the block, thread or place in which it was computed, so all of them agree on which key is nearest, to
the last bit. LLVM keeps the 16 x 16 partial sums in registers; nothing but maxima is written.

`dkvb.gpu.scores` adds in the same order, so GPUs agree with CPUs too; tests/dkvb/gpu/test_scores.py holds both to it.

source: the outer-product kernel of Goto and van de Geijn, Anatomy of High-Performance Matrix Multiplication, 2008.
"""

import hashlib
import os
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from dkvb.private import stamp_cache

if TYPE_CHECKING:
    from torch import Tensor

LANES = 16
"""Items of a tile, and columns of a group: 16 float32 fill the widest vector register there is."""

Floats = NDArray[np.float32]


@cache
def _source_stamp() -> str:
    """What all kernels of this package were written as."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function with numba: no GIL, the result kept on disk where there is a place for it."""
    compile_it = numba.njit(nogil=True, error_model="numpy")
    made = compile_it(function)
    try:
        made.enable_caching()
    except RuntimeError:  # neither the package's folder nor the user's cache can be written
        return compile_it(function)
    stamp_cache(made, _source_stamp())
    return made


def threads() -> int:
    """As many as torch may use here, for a worker is told its share; where torch is not loaded, one a CPU."""
    torch = sys.modules.get("torch")
    return int(torch.get_num_threads()) if torch is not None else os.cpu_count() or 1


Item = TypeVar("Item")


def each(work: Callable[[Item], object], items: Iterable[Item]) -> None:
    """Call the work for every item, on as many threads as there may be here."""
    todo = list(items)
    if threads() == 1 or len(todo) < 2:
        for item in todo:
            work(item)
        return
    with ThreadPoolExecutor(threads()) as pool:
        list(pool.map(work, todo))


class _Lanes:
    """Writes vector code: numbers, vectors of 16 float32, and the arrays of an intrinsic's arguments."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder
        self.vector = ir.VectorType(ir.FloatType(), LANES)
        kind = ir.FunctionType(self.vector, [self.vector] * 3)
        self._fma = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{LANES}f32")

    def offset(self, *parts: Any) -> Any:
        """((first * 16 + second) * 16 + ...): places in arrays whose last axes hold 16."""
        total = parts[0]
        for part in parts[1:]:
            sixteen = self.builder.mul(total, ir.Constant(ir.IntType(64), LANES))
            total = self.builder.add(sixteen, part if isinstance(part, ir.Value) else ir.Constant(ir.IntType(64), part))
        return total

    def _pointer(self, array: Any, offset: Any) -> Any:
        return self.builder.bitcast(self.builder.gep(array.data, [offset]), self.vector.as_pointer())

    def load(self, array: Any, offset: Any, inside: Any = None) -> Any:
        """16 numbers side by side; 0 in the lanes that are not inside."""
        if inside is None:
            value = self.builder.load(self._pointer(array, offset))
            value.align = 4
            return value
        pointer, zero = self._pointer(array, offset), ir.Constant(self.vector, [0.0] * LANES)
        kind = ir.FunctionType(self.vector, [pointer.type, ir.IntType(32), inside.type, self.vector])
        masked = cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.masked.load.v{LANES}f32.p0")
        return self.builder.call(masked, [pointer, ir.Constant(ir.IntType(32), 4), inside, zero])

    def below(self, bound: Any) -> Any:
        """The lanes whose number is below the bound."""
        wide = ir.VectorType(ir.IntType(64), LANES)
        undefined, zeros = (
            ir.Constant(wide, ir.Undefined),
            ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES),
        )
        first = self.builder.insert_element(undefined, bound, ir.Constant(ir.IntType(32), 0))
        bounds = self.builder.shuffle_vector(first, undefined, zeros)
        return self.builder.icmp_signed("<", ir.Constant(wide, list(range(LANES))), bounds)

    def store(self, value: Any, array: Any, offset: Any) -> None:
        """Write 16 numbers side by side."""
        self.builder.store(value, self._pointer(array, offset)).align = 4

    def spread(self, array: Any, offset: Any) -> Any:
        """One number in all 16 lanes."""
        undefined = ir.Constant(self.vector, ir.Undefined)
        number = self.builder.load(self.builder.gep(array.data, [offset]))
        first = self.builder.insert_element(undefined, number, ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        return self.builder.shuffle_vector(first, undefined, zeros)

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """The sum of a * b and c, rounded once."""
        return self.builder.call(self._fma, [a, b, c])

    def larger(self, a: Any, b: Any) -> Any:
        """The larger of each pair."""
        return self.builder.select(self.builder.fcmp_ordered(">", b, a), b, a)


def _arrays(context: Any, builder: Any, signature: Any, arguments: Any) -> list[Any]:
    """An intrinsic's array arguments, whose data and shape can be reached; other arguments as they are."""
    kinds = [*zip(signature.args, arguments, strict=True)]
    assert all(kind.layout == "C" for kind, _ in kinds if isinstance(kind, numba.types.Array)), "arrays lie in order"
    return [
        context.make_array(kind)(context, builder, value) if isinstance(kind, numba.types.Array) else value
        for kind, value in kinds
    ]


def _scores(*, reduce: bool) -> Any:
    """The inner loop as an intrinsic: sums of 16 items and 16 columns in 16 registers."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        x, table, bias, out = _arrays(context, builder, signature, arguments)
        lanes = _Lanes(builder)
        groups, width = (builder.extract_value(table.shape, axis) for axis in (0, 1))
        with cgutils.for_range(builder, groups) as group:
            cells = [cgutils.alloca_once(builder, lanes.vector) for _ in range(LANES)]
            for u, cell in enumerate(cells):
                builder.store(lanes.spread(bias, lanes.offset(group.index, u)), cell)
            first = builder.mul(group.index, width)
            with cgutils.for_range(builder, width) as along:
                items = lanes.load(x, lanes.offset(along.index, 0))
                row = builder.add(first, along.index)
                for u, cell in enumerate(cells):
                    column = lanes.spread(table, lanes.offset(row, u))
                    builder.store(lanes.fma(items, column, builder.load(cell)), cell)
            scores = [builder.load(cell) for cell in cells]
            if reduce:
                while len(scores) > 1:
                    scores = [lanes.larger(a, b) for a, b in zip(scores[::2], scores[1::2], strict=True)]
                lanes.store(scores[0], out, lanes.offset(group.index, 0))
            else:
                for u, score in enumerate(scores):
                    lanes.store(score, out, lanes.offset(group.index, u, 0))

    def typed(typing_context: Any, x: Any, table: Any, bias: Any, out: Any) -> Any:
        del typing_context
        return numba.void(x, table, bias, out), generate

    return intrinsic(typed)


scores_of_tile = _scores(reduce=False)
"""(x, table, bias, out): out[g * 16 + u, lane] = bias[g, u] + sum over d of x[d, lane] * table[g, d, u].

x: (width, 16) float32, one tile of items; table: (groups, width, 16); bias: (groups, 16); out: (groups * 16, 16).
All are contiguous.
"""

maxima_of_tile = _scores(reduce=True)
"""(x, table, bias, out): as `scores_of_tile`, but out (groups, 16) holds the largest score of each group alone."""


@intrinsic  # type: ignore[untyped-decorator]
def scores_of_rows(typing_context: Any, rows: Any, chosen: Any, table: Any, out: Any) -> Any:
    """What `scores_of_tile` gives without a bias, for 16 rows that lie anywhere, item by item and bit for bit.

    rows: (n, width) float32; chosen: (16,) int64, which of them; table: (groups, width, 16);
    out: (16 items, groups * 16).
    """
    del typing_context

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        rows, chosen, table, out = _arrays(context, builder, signature, arguments)
        lanes = _Lanes(builder)
        groups, width = (builder.extract_value(table.shape, axis) for axis in (0, 1))
        begins = [
            builder.mul(builder.load(builder.gep(chosen.data, [ir.Constant(ir.IntType(64), u)])), width)
            for u in range(LANES)
        ]
        with cgutils.for_range(builder, groups) as group:
            cells = [cgutils.alloca_once(builder, lanes.vector) for _ in range(LANES)]
            for cell in cells:
                builder.store(ir.Constant(lanes.vector, [0.0] * LANES), cell)
            first = builder.mul(group.index, width)
            with cgutils.for_range(builder, width) as along:
                columns = lanes.load(table, lanes.offset(builder.add(first, along.index), 0))
                for begin, cell in zip(begins, cells, strict=True):
                    item = lanes.spread(rows, builder.add(begin, along.index))
                    builder.store(lanes.fma(item, columns, builder.load(cell)), cell)
            for u, cell in enumerate(cells):
                place = builder.add(builder.mul(ir.Constant(ir.IntType(64), u), groups), group.index)
                lanes.store(builder.load(cell), out, lanes.offset(place, 0))

    return numba.void(rows, chosen, table, out), generate


@intrinsic  # type: ignore[untyped-decorator]
def scores_of_item(typing_context: Any, x: Any, lane: Any, table: Any, bias: Any, g: Any, out: Any) -> Any:
    """The 16 scores of one item of a tile in group g, bit for bit as `scores_of_tile` has them.

    out: (16,) float32; the others as there.
    """
    del typing_context

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        x, lane, table, bias, g, out = _arrays(context, builder, signature, arguments)
        lanes = _Lanes(builder)
        width = builder.extract_value(table.shape, 1)
        cell = cgutils.alloca_once(builder, lanes.vector)
        builder.store(lanes.load(bias, lanes.offset(g, 0)), cell)
        first = builder.mul(g, width)
        with cgutils.for_range(builder, width) as along:
            item = lanes.spread(x, lanes.offset(along.index, lane))
            columns = lanes.load(table, lanes.offset(builder.add(first, along.index), 0))
            builder.store(lanes.fma(item, columns, builder.load(cell)), cell)
        lanes.store(builder.load(cell), out, ir.Constant(ir.IntType(64), 0))

    return numba.void(x, numba.int64, table, bias, numba.int64, out), generate


@intrinsic  # type: ignore[untyped-decorator]
def reaching(typing_context: Any, numbers: Any, row: Any, bounds: Any) -> Any:
    """Which of the 16 numbers[row] are not below their bounds, as bits of an integer.

    numbers: (rows, 16) float32; bounds: (16,) float32.
    """
    del typing_context

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        numbers, row, bounds = _arrays(context, builder, signature, arguments)
        lanes = _Lanes(builder)
        values = lanes.load(numbers, lanes.offset(row, 0))
        reached = builder.fcmp_ordered(">=", values, lanes.load(bounds, ir.Constant(ir.IntType(64), 0)))
        return builder.zext(builder.bitcast(reached, ir.IntType(LANES)), ir.IntType(64))

    return numba.int64(numbers, numba.int64, bounds), generate


@intrinsic  # type: ignore[untyped-decorator]
def exchange(typing_context: Any, sums: Any, rows: Any, new: Any, old: Any) -> Any:
    """Add rows[new] - rows[old] to the sums.

    sums: (blocks, 16) float32, flat as long as a row or longer; what lies past a row stays as it is.
    rows: (k, width) float32; new, old: int64.
    """
    del typing_context

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        sums, rows, new, old = _arrays(context, builder, signature, arguments)
        lanes = _Lanes(builder)
        blocks, width = builder.extract_value(sums.shape, 0), builder.extract_value(rows.shape, 1)
        with cgutils.for_range(builder, blocks) as block:
            first = lanes.offset(block.index, 0)
            inside = lanes.below(builder.sub(width, first))
            added, taken = (lanes.load(rows, builder.add(builder.mul(row, width), first), inside) for row in (new, old))
            total = builder.fadd(lanes.load(sums, first), builder.fsub(added, taken))
            lanes.store(total, sums, first)

    return numba.void(sums, rows, numba.int64, numba.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def add_row(typing_context: Any, sums: Any, rows: Any, index: Any) -> Any:
    """Add rows[index] to the sums; arguments as of `exchange`."""
    del typing_context

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        sums, rows, index = _arrays(context, builder, signature, arguments)
        lanes = _Lanes(builder)
        blocks, width = builder.extract_value(sums.shape, 0), builder.extract_value(rows.shape, 1)
        with cgutils.for_range(builder, blocks) as block:
            first = lanes.offset(block.index, 0)
            inside = lanes.below(builder.sub(width, first))
            row = lanes.load(rows, builder.add(builder.mul(index, width), first), inside)
            lanes.store(builder.fadd(lanes.load(sums, first), row), sums, first)

    return numba.void(sums, rows, numba.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def largest_of(typing_context: Any, sums: Any) -> Any:
    """The largest of (blocks, 16) float32, at least one block."""
    del typing_context

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (sums,) = _arrays(context, builder, signature, arguments)
        lanes = _Lanes(builder)
        cell = cgutils.alloca_once(builder, lanes.vector)
        builder.store(lanes.load(sums, ir.Constant(ir.IntType(64), 0)), cell)
        with cgutils.for_range(builder, builder.extract_value(sums.shape, 0)) as block:
            found = lanes.load(sums, lanes.offset(block.index, 0))
            builder.store(lanes.larger(builder.load(cell), found), cell)
        rest = builder.load(cell)
        for half in (8, 4, 2, 1):  # the upper lanes onto the lower ones
            places = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [lane ^ half for lane in range(LANES)])
            rest = lanes.larger(rest, builder.shuffle_vector(rest, ir.Constant(lanes.vector, ir.Undefined), places))
        return builder.extract_element(rest, ir.Constant(ir.IntType(32), 0))

    return numba.float32(sums), generate


@intrinsic  # type: ignore[untyped-decorator]
def lowest_bit(typing_context: Any, bits: Any) -> Any:
    """Place of the lowest bit of an integer that is not 0."""
    del typing_context

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del context, signature
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return numba.int64(numba.int64), generate


def widened(z: "Tensor") -> Floats:
    """Floats of any precision as float32, row after row; without torch's threads where numpy knows the type."""
    import torch  # no kernel needs it

    known = z.dtype in (torch.float16, torch.float32, torch.float64)
    return np.ascontiguousarray((z if known else z.float()).numpy(), np.float32)


def pack(rows: Floats) -> Floats:
    """Columns of the inner loop, 16 side by side, of a matrix that has one of them in each row.

    rows: (k, width) float32.
    returns: (groups, width, 16) float32, the last group filled up with zeros.
    """
    table = np.empty((-(-len(rows) // LANES), rows.shape[1], LANES), np.float32)
    fill_tiles(rows, table)
    return table


@kernel
def fill_tiles(rows: Any, tiles: Any) -> None:
    """Rows (n, width), 16 side by side in each of the tiles (ceil(n / 16), width, 16); zeros past the last row."""
    n, width = rows.shape
    for t in range(tiles.shape[0]):
        here = min(LANES, n - t * LANES)
        for d in range(width):
            for lane in range(here):
                tiles[t, d, lane] = rows[t * LANES + lane, d]
            for lane in range(here, LANES):
                tiles[t, d, lane] = 0
