"""Completion in a shell: names of specs, and of the classes and experiments of the root that a line names.

A shell asks at every press of a key, and shows nothing of what goes wrong: no answer is better than an error.
"""

import os
import shlex
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from store.places import Place, is_local, place


def specs(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Names of shipped specs, and files; the first of these, as bash begins anew there."""
    import jobs.spec

    shipped = Path(jobs.spec.__file__).parent / "shipped"  # to read specs takes torch, and that takes seconds
    return [CompletionItem(begun, type="file"), *_items(sorted(path.stem for path in shipped.glob("*.toml")), begun)]


def classes(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Names of the classes that the experiment on the line knows."""
    from jobs.results.experiment import find

    return _items(_of_root(context, lambda root: find(root, _named(context, "experiment")).classes), begun)


def experiments(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Names of the experiments of the root on the line."""
    from jobs.results.experiment import experiments as on_root

    return _items(_of_root(context, lambda root: [each.name for each in on_root(root)]), begun)


def _of_root(context: click.Context, read: Callable[[Place], Iterable[str]]) -> Iterable[str]:
    """What is read of the root on the line; nothing where none is named, or it is on a store: that may take seconds."""
    try:
        root = _named(context, "root")
        if root is None and context.args:  # an option that lacks its value ends the parsing before any argument
            root = place(context.args[0])
        return () if root is None or not is_local(root) else read(root)
    except Exception:  # whatever lies there: the command itself says what is wrong
        return ()


def _named(context: click.Context, name: str) -> Any:
    """What the line says under a name, to this command or to the group that it is in; None where it says nothing."""
    here: click.Context | None = context
    while here is not None:
        if (value := here.params.get(name)) is not None:
            return value
        here = here.parent
    return None


def _items(names: Iterable[str], begun: str) -> list[CompletionItem]:
    """The names that begin as the line does; one that a terminal would obey is left out."""
    fits = [name for name in names if name.startswith(begun) and name.isprintable()]
    # zsh and fish quote what they insert; bash inserts it as it is.
    quote = shlex.quote if os.environ.get("_DKVB_COMPLETE", "").startswith("bash") else str
    return [CompletionItem(quote(name)) for name in fits]
