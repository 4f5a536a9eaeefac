"""Where dkvb starts: the names of its four packages mean its own files, whatever lies in the current folder.

Run before anything else is imported, so it uses nothing but what Python has loaded by itself.
"""

import os
import sys

TYPE_CHECKING = False  # mypy knows the name; `typing` is not loaded for it
if TYPE_CHECKING:
    from jobs.opened import OpenExperiment

    __version__: str

PACKAGES = ("cluster", "dkvb", "jobs", "store")

HOME = os.path.dirname(os.path.realpath(__file__))
"""The folder in which the four packages lie."""

OWNER = "dkvb-unlearning"
"""Stands in the `__init__.py` of each of them."""


NO_VERSION = "0+unknown"
"""The version of code that is not installed, as on a cluster that was sent the code alone."""


class Shadowed(ImportError):
    """One of our names leads to somebody else's file."""


def main() -> None:
    """The command `dkvb`."""
    begin()
    from jobs.cli.main import main as command_line

    command_line()


def open_root(root: str | os.PathLike[str], experiment: str | None = None) -> "OpenExperiment":
    """Open an experiment of a root in Python: its tables, counts and classes, questions, requests, the model.

    root: a folder, or an address such as s3://bucket/folder.
    experiment: which, where the root holds several.
    raises: BadRequest where there is none, or none of that name, or several and no name; NotARoot; BadAddress;
        Shadowed if one of our names leads to somebody else's file.
    """
    bind()
    from jobs.opened import open_experiment

    return open_experiment(root, experiment)


if not TYPE_CHECKING:  # a type checker would take every name for one that is there

    def __getattr__(name: str) -> str:
        """`__version__`: that of the last tag, and what came after it; read when asked for, as it takes a while."""
        if name != "__version__":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version(OWNER)
        except PackageNotFoundError:
            return NO_VERSION


def begin() -> None:
    """`claim`, for a program: what is wrong is said in one line."""
    try:
        claim()
    except Shadowed as error:
        sys.stderr.write(f"dkvb: {error}\n")
        sys.exit(1)


def claim() -> None:
    """Take the current folder off the search path, and bind our four names to the folders beside this file.

    dkvb imports nothing of the user's, so a `cluster.py` or a `random.py` where it is started is never meant.

    raises: Shadowed if one of the names was imported from elsewhere already, or its folder was overwritten.
    """
    sys.path[:] = [entry for entry in sys.path if not _unwanted(entry)]
    if HOME in sys.path:
        while sys.path.count(HOME) > 1:  # a Ray worker finds it first of all, until the names are bound
            sys.path.remove(HOME)
    else:
        sys.path.append(HOME)
    bind()


def bind() -> None:
    """Bind our four names to the folders beside this file; raises: Shadowed."""
    for name in PACKAGES:
        _check(name)
        _bind(name)


def variables() -> dict[str, str]:
    """What keeps the current folder off the search path of Python processes that are started from here."""
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    kept = [entry for entry in entries if os.path.isabs(entry) and not _unwanted(entry)]
    return {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(kept)}


def _unwanted(entry: str) -> bool:
    """Whether an entry of the search path is the current folder, or was given relative to it."""
    try:
        folder = os.path.realpath(entry)
        relative = {part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if not os.path.isabs(part)}
        if folder not in {os.path.realpath(part) for part in ("", *relative)}:
            return False
    except FileNotFoundError:  # the current folder is gone, and whatever is relative to it
        return not os.path.isabs(entry)
    site = sys.modules.get("site")
    installed = [] if site is None else site.getsitepackages()
    return folder not in map(os.path.realpath, [HOME, os.path.dirname(os.__file__), *installed])


def _check(name: str) -> None:
    path = os.path.join(HOME, name, "__init__.py")
    try:
        with open(path, encoding="utf-8") as file:
            found = file.read()
    except (OSError, ValueError):
        found = ""
    if f'OWNER = "{OWNER}"' not in found:
        raise Shadowed(
            f"{path}: is missing or not dkvb's; another package named {name!r} was installed over it: "
            f"pip uninstall {name}, then pip install --force-reinstall --no-deps {OWNER}"
        )


def _bind(name: str) -> None:
    folder = os.path.join(HOME, name)
    path = os.path.join(folder, "__init__.py")
    if name in sys.modules:
        found = getattr(sys.modules[name], "__file__", None)
        if found is None or os.path.realpath(found) != path:
            raise Shadowed(
                f"{found or name}: was imported as {name!r} in place of {path}, so dkvb cannot run; start it from "
                "another folder, take that folder off PYTHONPATH, or rename the file"
            )
        return
    import importlib.util

    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=[folder])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
