"""Requests to learn."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.cli.options import EXPERIMENT, JSON, ROOT, with_asker
from jobs.printable import say
from store.places import Place

if TYPE_CHECKING:
    from jobs.certificate import Asker


@click.command(short_help="Learn new images, or a new class, exactly and without training.")
@ROOT
@click.option("--images", metavar="DIR", required=True, help="A folder of images for each class, named as the class.")
@click.option(
    "--class",
    "classes",
    multiple=True,
    metavar="NAME",
    help="Read this class folder alone; repeat for several.",
)
@click.option("--weights", metavar="FILE", help="Of the backbone, if they lie elsewhere than they did.")
@with_asker
@EXPERIMENT
@JSON
def learn(
    root: Place,
    *,
    experiment: str | None,
    images: str,
    classes: tuple[str, ...],
    weights: str | None,
    asker: "Asker",
    key_file: Path | None,
    as_json: bool,
) -> None:
    """Learn the images in class folders: they join the sums of heads that are made by method = "lda".

    A folder named as no class that is there makes a new class. What results equals, bit for bit, heads that had the
    images from the beginning, on the same keys. An image is forgotten again by its key, such as cat/0001.png.

    Example: dkvb learn roots/mine --images photos

    One class of them: dkvb learn roots/mine --images photos --class okapi
    """
    from jobs.learn import LearnRequest
    from jobs.learn import learn as take
    from jobs.results.experiment import find

    request = LearnRequest(images=images, classes=classes, weights=weights)
    done = take(find(root, experiment), request, asker=asker, key_file=key_file, tell=lambda text: say(text, err=True))
    say(json.dumps(done.to_json(), indent=2) if as_json else done.text())
