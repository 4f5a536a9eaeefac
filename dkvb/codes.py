"""Codes: the index of the nearest selectable key, per item and codebook.

n: items; c: codebooks; m: keys of a codebook; d_z: width of an embedding; d_k: width of a key; groups: ceil(m / 16),
as 16 keys lie side by side, filled up with keys that nothing selects.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from dkvb.errors import ShapeMismatch
from dkvb.nearest import key_bias, nearest_of_tile
from dkvb.plain import encode_plain, nearest_plain
from dkvb.tiles import LANES, Floats, each, fill_tiles, kernel, scores_of_tile, threads, widened

BLOCK = 512
"""Items that pass through the codebooks together, one codebook after the other: their embeddings stay in the cache."""


def nearest(x: Tensor, keys: Tensor, *, selectable: Tensor | None = None) -> Tensor:
    """Nearest selectable key of one codebook: squared L2, ties to the lowest index.

    x: (n, d_k) float32, projected items.
    keys: (m, d_k) float32.
    selectable: (m,) bool, or None when every key is.
    returns: (n,) int64, NO_VOTE where nothing is selectable.
    memory: a copy of the keys; an array of (n, m) is never made.
    raises: ShapeMismatch.
    """
    if x.ndim != 2 or keys.ndim != 2 or x.shape[1] != keys.shape[1]:
        raise ShapeMismatch.between("x (n, d_k)", x.shape, "keys (m, d_k)", keys.shape)
    check_m(len(keys))
    if x.device.type != "cpu":
        return nearest_plain(x, keys, selectable=selectable)
    table, bias = pack_keys(keys, selectable)
    codes = torch.empty(len(x), dtype=torch.int64)
    _nearest(x.numpy(), table, bias, codes.numpy())
    return codes


def encode(
    z: Tensor,
    projection: Tensor,
    keys: Tensor,
    *,
    selectable: Tensor | None = None,
) -> Tensor:
    """Codes of items in every codebook.

    z: (n, d_z) float, embeddings.
    projection: (c, d_z, d_k) float32.
    keys: (c, m, d_k) float32.
    selectable: (c, m) bool, or None when every key is.
    returns: (n, c) int16, NO_VOTE (-1) where a codebook has no selectable key.
    memory: the result, a copy of keys and projection, and 4 BLOCK d_z bytes a thread; (n, c, m) is never made.
    raises: ShapeMismatch.
    source: Träuble et al., arXiv 2207.11240, equation 1.
    """
    check_shapes(z, projection, keys, selectable)
    if z.device.type != "cpu":
        return encode_plain(z, projection, keys, selectable=selectable)
    return Codebooks.of(projection, keys, selectable).encode(z)


def check_shapes(z: Tensor, projection: Tensor, keys: Tensor, selectable: Tensor | None) -> None:
    """Check that embeddings and a model's parts fit; raises: ShapeMismatch."""
    if projection.ndim != 3 or z.shape[1:] != projection.shape[1:2]:
        raise ShapeMismatch.between("z (n, d_z)", z.shape, "projection (c, d_z, d_k)", projection.shape)
    if keys.ndim != 3 or (keys.shape[0], keys.shape[2]) != (projection.shape[0], projection.shape[2]):
        raise ShapeMismatch.between("keys (c, m, d_k)", keys.shape, "projection (c, d_z, d_k)", projection.shape)
    if selectable is not None and selectable.shape != keys.shape[:2]:
        raise ShapeMismatch.between("selectable (c, m)", selectable.shape, "keys (c, m, d_k)", keys.shape)
    check_m(keys.shape[1])


def check_m(m: int) -> None:
    """Check that codes, which are int16, can name m keys; raises: ShapeMismatch."""
    if not 1 <= m <= torch.iinfo(torch.int16).max + 1:
        raise ShapeMismatch(f"keys: found m = {m} pairs per codebook, expected 1 to 32768 (codes are int16)")


def check_below(what: str, numbers: Tensor, most: int) -> None:
    """Check numbers that come from elsewhere, which compiled code follows unchecked.

    what: names them in the error; most: all must be below it.
    raises: ShapeMismatch.
    """
    if numbers.numel() and (largest := int(numbers.max())) >= most:
        raise ShapeMismatch(f"{what}: found {largest}, expected numbers below {most}")


def block_size(n: int) -> int:
    """Items of a block: whole tiles, at most BLOCK, few enough that every thread gets work."""
    share = -(-n // (torch.get_num_threads() * LANES)) * LANES
    return max(LANES, min(BLOCK, share))


@dataclass(frozen=True, slots=True)
class Codebooks:
    """Projections and keys as the inner loop reads them (`dkvb.tiles.pack`), with a bias of -|k|^2 / 2."""

    directions: Floats
    """(c, groups, d_z, 16) float32."""
    keys: Floats
    """(c, groups, d_k, 16) float32."""
    bias: Floats
    """(c, groups, 16) float32; -inf for a key that is not selectable, or that only fills a group."""

    @classmethod
    def of(cls, projection: Tensor, keys: Tensor, selectable: Tensor | None) -> Self:
        """Pack a model's parts: projection (c, d_z, d_k), keys (c, m, d_k), selectable (c, m) bool or None."""
        c, m, d_k = keys.shape
        groups, d_z = -(-m // LANES), projection.shape[1]
        directions = np.empty((c, -(-d_k // LANES), d_z, LANES), np.float32)
        packed = np.empty((c, groups, d_k, LANES), np.float32)
        bias = np.empty((c, groups, LANES), np.float32)

        def fill(j: int) -> None:
            fill_tiles(projection[j].numpy().T, directions[j])
            _fill_keys(keys[j], None if selectable is None else selectable[j], packed[j], bias[j])

        each(fill, range(c))
        return cls(directions, packed, bias)

    def encode(self, z: Tensor) -> Tensor:
        """Codes of items, as of the function `encode`: (n, d_z) float -> (n, c) int16."""
        n, c = len(z), len(self.keys)
        codes = torch.empty(n, c, dtype=torch.int16)
        out = codes.numpy()
        size, part = block_size(n), c
        if n <= BLOCK:  # each thread reads its share of the keys, not each of them all
            size, part = BLOCK, -(-c // threads())

        def encode_block(block: tuple[int, int]) -> None:
            rows, books = slice(block[0], block[0] + size), slice(block[1], block[1] + part)
            _encode(widened(z[rows]), self.directions[books], self.keys[books], self.bias[books], out[rows, books])

        each(encode_block, [(begin, first) for begin in range(0, n, size) for first in range(0, c, part)])
        return codes


def pack_keys(keys: Tensor, selectable: Tensor | None = None) -> tuple[Floats, Floats]:
    """Pack the keys (m, d_k) of one codebook for the inner loop: table (groups, d_k, 16), bias (groups, 16)."""
    groups = -(-len(keys) // LANES)
    table, bias = np.empty((groups, keys.shape[1], LANES), np.float32), np.empty((groups, LANES), np.float32)
    _fill_keys(keys, selectable, table, bias)
    return table, bias


def _fill_keys(keys: Tensor, selectable: Tensor | None, table: Floats, bias: Floats) -> None:
    fill_tiles(keys.numpy(), table)
    key_bias(table, len(keys), bias)
    if selectable is not None:
        bias.reshape(-1)[: len(keys)][~selectable.numpy()] = -np.inf


@kernel
def _nearest(x: Any, table: Any, bias: Any, codes: Any) -> None:
    """Fill codes (n,) with the nearest keys of projected items x (n, d_k)."""
    tile, maxima = np.empty((1, x.shape[1], LANES), np.float32), np.empty(bias.shape, np.float32)
    scores, out = np.empty(LANES, np.float32), np.empty(LANES, np.int64)
    for begin in range(0, len(x), LANES):
        fill_tiles(x[begin : begin + LANES], tile)
        nearest_of_tile(tile[0], table, bias, maxima, scores, out)
        for lane in range(min(LANES, len(x) - begin)):
            codes[begin + lane] = out[lane]


@kernel
def _encode(z: Any, directions: Any, keys: Any, bias: Any, codes: Any) -> None:
    """Fill codes (n, c) of one block of embeddings z (n, d_z)."""
    n, c = codes.shape
    tiles = np.empty((-(-n // LANES), z.shape[1], LANES), np.float32)
    fill_tiles(z, tiles)
    x = np.empty((directions.shape[1] * LANES, LANES), np.float32)
    zero = np.zeros((directions.shape[1], LANES), np.float32)
    maxima = np.empty(bias.shape[1:], np.float32)
    scores = np.empty(LANES, np.float32)
    out = np.empty(LANES, np.int16)
    for j in range(c):
        for t in range(len(tiles)):
            scores_of_tile(tiles[t], directions[j], zero, x)
            nearest_of_tile(x[: keys.shape[2]], keys[j], bias[j], maxima, scores, out)
            for lane in range(min(LANES, n - t * LANES)):
                codes[t * LANES + lane, j] = out[lane]
