"""Questions to what is on a root."""

import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from jobs.cli.completing import classes as class_names
from jobs.cli.options import EXPERIMENT, FORM, FORM_JSON, JSON, OUTPUT, ROOT
from jobs.cli.output import put
from jobs.errors import BadRequest
from jobs.printable import say, shown

MASK = click.option(
    "--mask",
    metavar="MASK",
    help="A mask file, or the folder or digest that `dkvb unlearn` wrote for a request.",
)
OPTIONS = (
    click.option("--limit", type=click.IntRange(0), default=20, show_default=True, help="Rows; 0: all."),
    click.option("--sort", metavar="COLUMN", help="Sort by a column; with a minus before it, largest first."),
    FORM,
    FORM_JSON,
    OUTPUT,
)
"""How an answer is written; given to `show`."""


def table_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of how a table is written."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def show(table: Any, *, limit: int, sort: str | None, form: str, output: Path | None, as_asked: bool = False) -> None:
    """Write a table; as_asked: its columns are the user's own words.

    raises: BadRequest where there is no such column, or for a file that cannot be written.
    """
    from jobs.results.formats import FORMATS, READ
    from jobs.results.heads import column_named, for_people

    if sort:
        name = column_named(table, sort.removeprefix("-"))
        if name is None:
            raise BadRequest(f"--sort {sort}: no such column (there: {', '.join(table.columns)})")
        table = table.sort(name, descending=sort.startswith("-"), nulls_last=True, maintain_order=True)
    some = table.head(limit) if limit else table
    put(FORMATS[form](for_people(some) if form in READ and not as_asked else some), output)
    if len(some) < len(table):
        say(f"{len(some)} of {len(table)} rows; --limit 0 shows all", err=True)


class Questions(click.Group):
    """Takes --experiment wherever it stands in the line, as other commands do."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put it in front."""
        words, front, rest = iter(args), list[str](), list[str]()
        for word in words:
            if word == "--":
                rest += [word, *words]
            elif word == "--experiment":
                if (name := next(words, None)) is None:
                    raise click.BadOptionUsage(word, "Option '--experiment' requires an argument.", ctx)
                front += [word, name]
            else:
                (front if word.startswith("--experiment=") else rest).append(word)
        return super().parse_args(ctx, front + rest)


@click.group(cls=Questions, short_help="Ask about pairs, classes, masks and items.")
@ROOT
@EXPERIMENT
@click.pass_context
def query(context: click.Context, root: Any, experiment: str | None) -> None:
    """Ask the activation store about pairs, classes, masks and items.

    A class is given by its name, or by its number as in #17. Nothing on the root is changed.

    Example: dkvb query roots/cifar10 why dog --forgot cat

    Options of a question: dkvb query roots/cifar10 why --help
    """
    context.obj = root, experiment
    if gc.isenabled():  # an answer leaves little garbage, and looking for it among all that is imported takes 30 ms
        gc.disable()
        context.call_on_close(gc.enable)


def stored(context: click.Context) -> Any:
    """The experiment that is asked about."""
    from jobs.query.stored import Stored
    from jobs.results.experiment import find

    return Stored(find(*context.obj))


@query.command()
@click.argument("name", metavar="CLASS", shell_complete=class_names)
@table_options
@click.pass_context
def keys(context: click.Context, /, name: str, **how: Any) -> None:
    """The pairs that a class activates most, what their values say, and who shares them.

    Example: dkvb query roots/cifar10 keys cat
    """
    from jobs.query import pairs

    asked = stored(context)
    show(pairs.keys(asked, asked.index(name), limit=None if how["sort"] else how["limit"] or None), **how)


@query.command()
@click.argument("codebook", type=int)
@click.argument("key", type=int)
@table_options
@click.pass_context
def classes(context: click.Context, /, codebook: int, key: int, **how: Any) -> None:
    """The classes that hit one pair, and its value for each.

    Example: dkvb query roots/cifar10 classes 46 701
    """
    from jobs.query import pairs

    show(pairs.pair_classes(stored(context), codebook, key), **how)


@query.command()
@click.argument("names", metavar="[CLASS CLASS]", nargs=-1, shell_complete=class_names)
@table_options
@click.pass_context
def overlap(context: click.Context, /, names: tuple[str, ...], **how: Any) -> None:
    """How far two classes share pairs; without names, each two of all classes.

    Example: dkvb query roots/cifar10 overlap cat dog
    """
    from jobs.query import pairs

    if len(names) not in (0, 2):
        raise click.UsageError(f"found {len(names)} classes, expected two, or none for all")
    asked = stored(context)
    show(pairs.overlap(asked, *map(asked.index, names)) if names else pairs.overlaps(asked), **how)


@query.command()
@click.argument("mask")
@table_options
@click.pass_context
def collateral(context: click.Context, /, mask: str, **how: Any) -> None:
    """What a mask takes from every class: activations, votes, and test items right before and wrong after.

    MASK is a mask file, or the folder or digest that `dkvb unlearn` wrote for a request.

    Example: dkvb query roots/cifar10 collateral 3fa2
    """
    from jobs.query import pairs

    asked = stored(context)
    show(pairs.collateral(asked, asked.read_mask(mask)[0]), **how)


@query.command()
@MASK
@click.option("--split", type=click.Choice(["test", "train"]), default="test", show_default=True)
@table_options
@click.pass_context
def confusion(context: click.Context, /, mask: str | None, split: str, **how: Any) -> None:
    """Which class is taken for which, before a mask and under it.

    Example: dkvb query roots/cifar10 confusion --mask 3fa2
    """
    from jobs.query import pairs

    asked = stored(context)
    show(pairs.confusion(asked, None if mask is None else asked.read_mask(mask)[0], split=split), **how)


@query.command()
@table_options
@click.pass_context
def load(context: click.Context, /, **how: Any) -> None:
    """How evenly each codebook is used, and how many of its keys are not used at all.

    Example: dkvb query roots/cifar10 load
    """
    show(stored(context).activations.load(), **how)


@query.command()
@click.argument("name", metavar="CLASS", shell_complete=class_names)
@click.option(
    "--forgot",
    "forgot",
    metavar="CLASS",
    multiple=True,
    required=True,
    help="Repeat for several.",
    shell_complete=class_names,
)
@MASK
@click.option(
    "--part",
    type=click.Choice(["pairs", "went", "lost"]),
    help="Only this table: the shared pairs, where items went, or the items that are lost.",
)
@table_options
@click.pass_context
def why(
    context: click.Context, /, name: str, forgot: tuple[str, ...], mask: str | None, part: str | None, **how: Any
) -> None:
    """Why a class suffered when others left: by the rule's mask of --forgot, or by --mask.

    Example: dkvb query roots/cifar10 why dog --forgot cat
    """
    from jobs.query import items

    asked = stored(context)
    answer = items.why(
        asked,
        asked.index(name),
        [asked.index(other) for other in forgot],
        None if mask is None else asked.read_mask(mask)[0],
    )
    if part is not None:
        show(getattr(answer, part), **how)
    elif how["form"] == "json":
        put(json.dumps(answer.to_json(), indent=2) + "\n", how["output"])
    else:
        say(f"{answer.text()}\n\nThe shared pairs, those that {shown(answer.name)} hits most first:\n")
        show(answer.pairs, **how)


@query.command()
@click.argument("name", metavar="ITEM")
@MASK
@table_options
@click.pass_context
def item(context: click.Context, /, name: str, mask: str | None, **how: Any) -> None:
    """The votes of one item, and what a mask changes in them.

    ITEM is test:17 or train:17, a row of a split; test:SHARD#17, a place in a shard; or test:KEY, such as
    test:cat/0001.png, with the path of its file, the name of its tar member or row-17 of its parquet file.

    Example: dkvb query roots/cifar10 item test:17 --mask 3fa2
    """
    from jobs.query import items

    asked = stored(context)
    say(items.item_text(asked, name), err=True)
    show(items.item(asked, name, None if mask is None else asked.read_mask(mask)[0]), **how)


@query.command()
@click.argument("text", metavar="SELECT")
@table_options
@click.pass_context
def sql(context: click.Context, /, text: str, **how: Any) -> None:
    """One SELECT over all tables of the root, in DuckDB's dialect; `show tables` names those there are.

    Example: dkvb query roots/cifar10 sql "select name, test_forget from sweep where budget = 0"
    """
    from jobs.query import sql

    show(sql.query(stored(context), text), **how, as_asked=True)


@click.command(short_help="What a request did: every class before and after.")
@ROOT
@click.argument("unlearned", required=False)
@MASK
@click.option(
    "--class",
    "names",
    multiple=True,
    metavar="NAME",
    help="What the mask forgets, if it does not say so.",
    shell_complete=class_names,
)
@click.option(
    "--images",
    metavar="DIR",
    help="Measure on these images, in a folder for each class, by the model's backbone.",
)
@click.option("--weights", metavar="FILE", help="Of the backbone for --images, if they lie elsewhere than they did.")
@EXPERIMENT
@JSON
def measure(
    root: Any,
    unlearned: str | None,
    *,
    mask: str | None,
    names: tuple[str, ...],
    images: str | None,
    weights: str | None,
    experiment: str | None,
    as_json: bool,
) -> None:
    """What a mask did: its classes and all others, before and after, on training and on test items.

    UNLEARNED is the folder, or the first letters of the digest, that `dkvb unlearn` wrote; --mask a mask file.

    Example: dkvb measure roots/cifar10 3fa2

    For images of your own: dkvb measure roots/cifar10 3fa2 --images photos
    """
    from jobs.query.stored import Stored
    from jobs.results.experiment import find

    if (unlearned is None) == (mask is None):
        raise click.UsageError("give either UNLEARNED or --mask")
    if weights is not None and images is None:
        raise click.UsageError("--weights are those of the backbone, which only --images need")
    asked = Stored(find(root, experiment))
    from jobs.query.retrained import measure_folder, retrained_folder

    if unlearned is not None and (folder := retrained_folder(asked, unlearned)) is not None:
        if images is not None or names:
            raise click.UsageError(f"--images, --class: not for {folder}, which was retrained; leave them out")
        retrained, items = measure_folder(asked, folder)
        lines = [f"retrained without {items} training items", *retrained.lines()]
        say(json.dumps(retrained.to_json(), indent=2) if as_json else "\n".join(lines))
        return
    pairs, header = asked.read_mask(unlearned or mask or "")
    forget = [asked.index(name) for name in names or header.get("classes", ())]
    if images is None:
        from jobs.query.measure import measure as take

        done = take(asked, pairs, forget)
    else:
        from jobs.query.images import measure_images

        done = measure_images(asked, pairs, forget, images, weights=weights, tell=lambda text: say(text, err=True))
    if as_json:
        say(json.dumps(done.to_json(), indent=2))
    else:
        say("\n".join([f"{', '.join(map(shown, done.forgotten))}: {int(pairs.sum())} pairs masked", *done.lines()]))
