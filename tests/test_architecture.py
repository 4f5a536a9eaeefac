"""What holds for the code as a whole; which package may import which is import-linter's business (`make lint`)."""

import ast
import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

import pytest

from jobs.spec.library import shipped
from tests.paths import REPOSITORY

PACKAGES = ("cluster", "dkvb", "jobs", "store")
LONGEST = 400

FILES = sorted(path for package in PACKAGES for path in (REPOSITORY / package).rglob("*.py"))
TESTS = sorted((REPOSITORY / "tests").rglob("*.py"))
MODULES = [
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")
    for path in FILES
    if path.name != "__main__.py" and (path.parent.name != "gpu" or find_spec("triton"))
]


def fresh(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code in a new interpreter, outside the repository."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120, cwd="/", check=False
    )


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_is_the_one_of_this_repository(package):
    found = importlib.import_module(package).__file__
    assert found is not None
    assert Path(found).resolve() == REPOSITORY / package / "__init__.py"


def test_the_packages_are_found_from_any_folder_too():
    done = fresh(
        f"import {', '.join(PACKAGES)}, json\nprint(json.dumps([{', '.join(p + '.__file__' for p in PACKAGES)}]))"
    )
    assert done.returncode == 0, done.stderr
    assert [Path(found).resolve().parent for found in json.loads(done.stdout)] == [REPOSITORY / p for p in PACKAGES]


HEAVY = {
    "dkvb": ("torch", "ray", "numba", "zarr", "polars", "numpy", "jobs"),
    "dkvb.torch": ("ray", "numba", "zarr", "polars", "timm", "open_clip", "jobs", "store"),
    "dkvb.pretrained": ("ray", "numba", "zarr", "polars", "timm", "open_clip", "onnx", "jobs", "store"),
    "dkvb.limits": ("torch", "ray", "numba", "zarr", "polars", "numpy", "jobs", "pydantic"),
    "jobs.cli.main": ("torch", "ray", "timm", "open_clip", "zarr", "polars", "matplotlib", "jinja2", "pydantic"),
    "cluster.session": ("ray", "torch"),
    "cluster.unit_map": ("ray", "torch"),
    "store.arrays": ("torch", "ray", "timm"),
    "store.images": ("torch", "ray", "torchvision", "pyarrow", "sklearn"),
    "dkvb.orders": ("torch", "ray", "timm", "open_clip", "zarr", "polars", "scipy"),
    "dkvb.statistics": ("torch", "ray", "timm", "open_clip", "zarr", "polars", "scipy"),
    "jobs.unlearn": ("torch", "ray", "timm", "open_clip", "sklearn", "matplotlib", "pyarrow", "PIL", "pydantic"),
    "jobs.plan.plan": ("torch", "numba", "ray", "timm", "polars", "zarr", "pyarrow", "scipy", "matplotlib", "pydantic"),
    "jobs.run.run": ("torch", "numba", "ray", "timm", "pyarrow", "scipy", "matplotlib", "pydantic"),
    "jobs.spec.reading": ("torch", "numba", "ray", "timm", "pyarrow", "polars", "zarr", "matplotlib", "pydantic"),
}


@pytest.mark.parametrize("module", HEAVY)
def test_importing_a_module_leaves_heavy_libraries_alone(module):
    code = f"import sys, {module}\nprint([name for name in {HEAVY[module]!r} if name in sys.modules])"
    done = fresh(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("spec", shipped())
def test_reading_a_spec_leaves_heavy_libraries_alone(spec):
    heavy = ("torch", "numba", "ray", "timm", "open_clip", "pyarrow", "polars", "zarr", "scipy")
    code = "import sys; from jobs.spec.reading import load_specs; load_specs(sys.argv[1])"
    done = fresh(f"{code}\nprint([name for name in {heavy!r} if name in sys.modules])", spec)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


LOOK = """
import json, os, sys, threading, polars, torch, zarr  # what they do is theirs
before = dict(os.environ), torch.get_num_threads(), torch.random.get_rng_state().tolist(), threading.active_count()
opened = []
started = []

def watch(event, given):
    if event == "open" and isinstance(given[1], str) and given[1].strip("rbtU"):
        opened.append(str(given[0]))
    elif event in ("subprocess.Popen", "socket.connect"):
        started.append(event)

sys.addaudithook(watch)
for name in sys.argv[1:]:
    __import__(name)
after = dict(os.environ), torch.get_num_threads(), torch.random.get_rng_state().tolist(), threading.active_count()
print(json.dumps({"changed": [i for i, (a, b) in enumerate(zip(before, after)) if a != b], "started": started,
                  "written": [name for name in opened if "__pycache__" not in name]}))
"""


def test_importing_does_no_work():
    done = fresh(LOOK, *MODULES)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert json.loads(done.stdout) == {"changed": [], "started": [], "written": []}


@pytest.mark.parametrize("path", [*FILES, *TESTS], ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_a_file_is_not_too_long(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST


Documented = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def public(body: list[ast.stmt], where: str) -> Iterator[tuple[str, Documented]]:
    """Public functions and classes of a module, and public methods of those classes."""
    for node in body:
        if isinstance(node, Documented) and not node.name.startswith("_"):
            yield f"{where}{node.name}", node
            is_protocol = isinstance(node, ast.ClassDef) and any("Protocol" in ast.unparse(base) for base in node.bases)
            if isinstance(node, ast.ClassDef) and not is_protocol:
                yield from public(node.body, f"{where}{node.name}.")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_everything_public_says_what_it_is(path):
    module = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(module), "the module itself"
    assert [name for name, node in public(module.body, "") if not ast.get_docstring(node)] == []


def test_a_script_of_the_tests_hides_no_library():
    """A script that is run by its path finds its own folder first: a `requests.py` there was what Ray got."""
    known = {*packages_distributions(), *sys.stdlib_module_names} - {"tests"}
    assert len(TESTS) > 100
    assert [str(path) for path in TESTS if path.stem in known] == []
