"""The method on GPUs, by Triton kernels: the bits of `dkvb` on CPUs, wherever a module says so.

A module here does what the module of the same name in `dkvb` does, with the same arguments, shapes and errors; tensors
are on the device and stay there. Counts need no kernel: `dkvb.counts` adds up whole numbers, on any device.
"""

from dkvb.errors import NoTriton

try:
    import triton  # noqa: F401
except ImportError as missing:
    raise NoTriton(
        f"computing on a GPU needs Triton, which comes with torch for Linux and CUDA ({missing}); install such a "
        "torch, or compute on the CPU"
    ) from missing
