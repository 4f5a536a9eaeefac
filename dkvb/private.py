"""numba's private part that has no public counterpart, behind one function that says why it is needed.

pyproject.toml bounds numba to versions that tests/dkvb/test_private.py has seen: it fails where this part changes.
"""

from typing import Any


def stamp_cache(compiled: Any, stamp: str) -> None:
    """Tie what numba keeps on disk of a function to a stamp: what another stamp left there is compiled anew.

    By itself numba ties it to the content of the function's own file, and does not see that a function which it calls
    from another file has changed. The public option, a locator class in NUMBA_CACHE_LOCATOR_CLASSES, would hold for
    every library in the process.

    compiled: a function of `numba.njit` after `enable_caching`, not called yet.
    """
    compiled._cache._cache_file._source_stamp = stamp
