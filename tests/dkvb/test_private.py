"""numba's private part is as `dkvb.private` found it: a version that changes it must be looked at first."""

import importlib.util
import tomllib
from pathlib import Path

import numba
import pytest

from dkvb.private import stamp_cache

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def compiled(tmp_path, monkeypatch):
    """Compile a function under a stamp, as a new process would, and run it; -> (read from disk, compiled anew)."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    file = tmp_path / "doubled.py"
    file.write_text("def double(x):\n    return 2 * x\n", encoding="utf-8")
    spec = importlib.util.spec_from_file_location("doubled", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def compile_and_run(stamp: str) -> tuple[int, int]:
        function = numba.njit(module.double)
        function.enable_caching()
        stamp_cache(function, stamp)
        assert function(3) == 6
        return sum(function.stats.cache_hits.values()), sum(function.stats.cache_misses.values())

    return compile_and_run


def test_a_compiled_function_is_read_from_the_disk_under_its_own_stamp_alone(compiled):
    assert compiled("one") == (0, 1)
    assert compiled("one") == (1, 0)
    assert compiled("other") == (0, 1)
    assert compiled("one") == (0, 1)


def test_numba_is_bounded_to_versions_that_were_looked_at():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "numba>=0.62,<0.69" in project["dependencies"]
