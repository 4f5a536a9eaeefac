"""Linear discriminant analysis on whole features: heads that are a function of sums over items, so that what is taken
out of the sums is forgotten exactly, bit for bit as if it had never been there.

Shapes: v classes, d features; c codebooks, m keys of a codebook, d_k width of a key; d = c d_k where features are keys.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from dkvb.errors import BadSetting, BadSums, ShapeMismatch
from dkvb.settings import LdaSettings as LdaSettings
from dkvb.sizes import are_large
from dkvb.spilled import let_go, spilled_zeros
from dkvb.sums import Sums

NOBODY = -1e4
"""Logit of a class without items, unless those of all others can fall that low (`nobody`)."""

FAR = 4
"""How many times its root mean square a feature of an embedding is thought to reach, where that is asked."""

CLASSES = 128
"""Classes that are solved for together."""

ROWS = 512
"""Rows of a covariance matrix that are worked on together."""

PANEL = 256
"""Its columns that are factored together."""


@dataclass(frozen=True, slots=True)
class Discriminants:
    """One linear function of an item's features for each class: its logit."""

    weights: Tensor
    """(v, d) float64."""
    bias: Tensor
    """(v,) float64."""
    there: Tensor
    """(v,) bool, whether a class has items."""
    usual: Tensor
    """(d,) float64, the root mean square of each feature."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread, so that bits do not depend on how many there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def apart(work: Callable[[int], None], parts: range) -> None:
    """Work on parts that have nothing in common, as many at a time as there are threads, each on one."""
    threads = torch.get_num_threads()
    with one_thread(), ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for _ in pool.map(work, parts):
            pass


def cholesky_(matrix: Tensor) -> bool:
    """The Cholesky factor of a symmetric matrix, in its lower triangle; what was above the diagonal is not to be read.

    Panel by panel; the rest is brought up to date in parts, whose bits do not depend on how many threads there are.
    matrix: (d, d) float64, changed in place.
    returns: whether it is positive definite.
    """
    d = len(matrix)
    for first in range(0, d, PANEL):
        last = min(first + PANEL, d)
        with one_thread():
            corner, failed = torch.linalg.cholesky_ex(matrix[first:last, first:last])
            matrix[first:last, first:last] = corner
        if failed:
            return False

        def below(start: int, first: int = first, last: int = last, corner: Tensor = corner) -> None:
            some = slice(start, start + ROWS)
            solved = torch.linalg.solve_triangular(corner, matrix[some, first:last].T, upper=False)
            matrix[some, first:last] = solved.T

        def rest(start: int, first: int = first, last: int = last) -> None:
            some, stop = slice(start, start + ROWS), min(start + ROWS, d)
            matrix[some, last:stop].addmm_(matrix[some, first:last], matrix[last:stop, first:last].T, alpha=-1)

        apart(below, range(last, d, ROWS))
        apart(rest, range(last, d, ROWS))
    return True


def discriminants(sums: Sums, settings: LdaSettings) -> Discriminants:
    """Solve for the discriminants of all classes; equal sums give equal bits on one machine.

    The covariance within classes, shrunk towards a multiple of the identity, is the same for all classes; a class has
    the share of its items as prior. A class without items never wins (`nobody`).
    raises: BadSums without any item; BadSetting where the shrinkage is too small for a solution.
    cost: d^3 / 3 multiply-adds on one thread, and d^2 v; memory: 24 d^2 bytes.
    source: Friedman, Regularized Discriminant Analysis, 1989 (the pooled covariance, shrunk).
    """
    if not sums.n:
        raise BadSums("sums over no items: nothing is left to make values of")
    there = sums.items > 0
    counts, totals = sums.items[there].double(), sums.classes[there].double()
    means = totals / counts[:, None]
    within = sums.moments.double()

    def subtract_means(first: int) -> None:
        some = slice(first, first + ROWS)
        within[some].addmm_(means[:, some].T, totals, alpha=-1).div_(sums.n)

    apart(subtract_means, range(0, len(within), ROWS))
    with one_thread():
        variance = float(within.diagonal().mean())
        # Where all items of a class are alike nothing varies, and any multiple of the identity says the same.
        within.diagonal().add_(settings.shrinkage * (variance if variance > 0 else 1.0))
    if not cholesky_(within):
        raise BadSetting(f"shrinkage: found {settings.shrinkage:g}, too small for these sums; give a larger one")
    solved = torch.empty_like(means)

    def solve(first: int) -> None:
        some = slice(first, first + CLASSES)
        solved[some] = torch.cholesky_solve(means[some].T, within).T

    apart(solve, range(0, len(means), CLASSES))
    weights = torch.zeros(sums.classes.shape, dtype=torch.float64)
    bias = torch.full((len(weights),), NOBODY, dtype=torch.float64)
    with one_thread():
        weights[there] = solved
        bias[there] = (counts / sums.n).log() - (means * solved).sum(1) / 2
    return Discriminants(weights, bias, there, (sums.moments.diagonal().double() / sums.n).sqrt())


def nobody(found: Discriminants, lowest: Tensor) -> float:
    """The logit of classes without items: NOBODY, or less where an item can give all others less than that.

    Of very few items the covariance says so little that the logits of others are huge, of either sign.
    lowest: (v,) float64, below which no item takes the logit of a class.
    """
    floor = float(lowest[found.there].max())  # the best logit of an item is no less
    return NOBODY if floor > NOBODY else 2 * floor


def lda_values(found: Discriminants, keys: Tensor) -> Tensor:
    """Values whose mean over the codebooks is the discriminant of an item's selected keys.

    keys: (c, m, d_k) int16 (`dkvb.sums.whole_keys`).
    returns: (c, m, v) float32; a large table lies on a scratch file (`dkvb.spilled`).
    raises: ShapeMismatch; OSError where there is no room for the file.
    cost: c m d_k v multiply-adds.
    """
    (c, m, d_k), (v, d) = keys.shape, found.weights.shape
    if d != c * d_k:
        raise ShapeMismatch.between("discriminants (v, d)", (v, d), "keys (c, m, d_k)", keys.shape)
    values = (spilled_zeros(c * m, v) if are_large(4 * c * m * v) else torch.empty(c * m, v)).view(c, m, v)
    weights, lowest = found.weights.T.contiguous().view(c, d_k, v), torch.empty(c, v, dtype=torch.float64)

    def fill(j: int) -> None:
        values[j] = torch.addmm(found.bias, keys[j].double(), weights[j], alpha=c)
        lowest[j] = values[j].amin(0)
        let_go(values[j])

    apart(fill, range(c))
    if not found.there.all() and (logit := nobody(found, lowest.mean(0))) != NOBODY:
        for j in range(c):
            values[j][:, ~found.there] = logit
            let_go(values[j])
    return values


def lda_linear(found: Discriminants, bits: int) -> Tensor:
    """A linear head: (d_z + 1, v) float32, the last row the bias, of discriminants of embeddings times 2^bits."""
    bias = found.bias.clone()
    if not found.there.all():
        bias[~found.there] = nobody(found, bias - FAR * (found.weights.abs() @ found.usual))
    return torch.cat([torch.ldexp(found.weights.T, torch.tensor(bits)), bias[None]]).float()
