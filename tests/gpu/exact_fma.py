"""An exact stand-in for the fused multiply-add of Triton's interpreter, which rounds twice.

A GPU rounds a * b + c once. Here the product is exact in float64 (24 + 24 bits), the sum is rounded to odd there, and
then once to float32 (Boldo and Melquiond, Emulation of a FMA and correctly rounded sums, 2008).
"""

import numpy as np
from numpy.typing import NDArray


def fma(a: NDArray[np.float32], b: NDArray[np.float32], c: NDArray[np.float32]) -> NDArray[np.float32]:
    """The sum of a * b and c, rounded once; arrays that broadcast."""
    with np.errstate(invalid="ignore", over="ignore"):
        product, added = np.broadcast_arrays(a.astype(np.float64) * b.astype(np.float64), c.astype(np.float64))
        total = product + added
        back = total - product
        rest = (product - (total - back)) + (added - back)  # exactly what the sum lost
        even = (np.ascontiguousarray(total).view(np.int64) & 1) == 0
        towards = np.where(rest > 0, np.inf, -np.inf)
        odd = np.where(np.isfinite(total) & (rest != 0) & even, np.nextafter(total, towards), total)
        return odd.astype(np.float32)


def use_exact_fma() -> None:
    """Let the interpreter of this process round as a GPU does."""
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

    def create_fma(self, x, y, z):
        return TensorHandle(fma(x.data, y.data, z.data), z.dtype.scalar)

    InterpreterBuilder.create_fma = create_fma
