"""The oldest versions that `make test-oldest` asks for, and how the project file says what it needs."""

import tomllib

import pytest

from tests.oldest import EXTRAS, oldest, pinned
from tests.paths import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_each_dependency_has_an_oldest_version():
    found = dict(text.split("==") for text in oldest(PROJECT))
    assert found.keys() >= {"ray", "torch", "zarr", "polars", "numpy", "xarray", "matplotlib"}
    assert found["ray"] == "2.60"
    assert len(found) == len(PROJECT["dependencies"]) + sum(
        len(PROJECT["optional-dependencies"][name]) for name in EXTRAS
    )


@pytest.mark.parametrize("text", ["zarr", "zarr<4", "zarr>3", "zarr==3.1", "zarr>=3.1; python_version > '3'"])
def test_a_dependency_without_an_oldest_version_is_refused(text):
    with pytest.raises(ValueError, match="expected NAME>=VERSION,<VERSION"):
        pinned(text)


def test_all_is_every_extra_that_a_user_may_want_and_that_goes_with_the_others():
    extras = PROJECT["optional-dependencies"]
    (every,) = extras["all"]
    names = every.removeprefix("dkvb-unlearning[").removesuffix("]").split(",")
    assert {*names} == extras.keys() - {"all", "bench", "dev", "docs", "tensorboard"}


def test_the_page_lists_every_extra():
    page = (REPOSITORY / "docs" / "install.md").read_text(encoding="utf-8")
    for name in PROJECT["optional-dependencies"].keys() - {"bench", "dev", "docs"}:
        assert f"\n| `{name}` | " in page
