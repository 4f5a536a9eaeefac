"""Models out: a folder for others, and a hub."""

import json
from pathlib import Path

import click

from jobs.cli.options import EXPERIMENT, JSON, ROOT
from jobs.printable import say
from store.places import Place


@click.command(short_help="Write a model, unlearned or not, as a Hugging Face folder with its evidence.")
@ROOT
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--request", metavar="NAME", help="The request that left the model: first letters of its folder's name.")
@click.option("--before", is_flag=True, help="The model as it was trained, though requests were made.")
@click.option(
    "--head",
    type=click.Choice(["values", "linear"]),
    default="values",
    show_default=True,
    help="values: the bottleneck; linear: the linear head beside it.",
)
@click.option("--with-backbone", "backbone", is_flag=True, help="The backbone's weights go along.")
@click.option("--weights", metavar="FILE", help="Of the backbone, if they lie elsewhere than they did.")
@click.option("--onnx", is_flag=True, help="Also model.onnx: backbone and head as one graph, compared with torch.")
@click.option(
    "--images",
    metavar="DIR",
    help="Where the experiment's images lie: ONNX is compared with torch on them. Not needed for digits.",
)
@click.option("--items", type=click.IntRange(1), metavar="N", help="On how many of them at most.  [default: 1000]")
@click.option("--license", "licence", metavar="ID", help="Of the model, as the hub calls it; for the card.")
@click.option(
    "--no-certificate", "certificate", is_flag=True, default=True, flag_value=False, help="The certificate stays here."
)
@EXPERIMENT
@JSON
def export(
    root: Place,
    folder: Path,
    *,
    experiment: str | None,
    request: str | None,
    before: bool,
    head: str,
    backbone: bool,
    weights: str | None,
    onnx: bool,
    images: str | None,
    items: int | None,
    licence: str | None,
    certificate: bool,
    as_json: bool,
) -> None:
    """Write a model to a new FOLDER: model.safetensors, config.json, a card with what was forgotten, the certificate.

    It is loaded without the root and without Ray, on any machine, and each file is checked against its SHA-256.

    Example: dkvb export roots/cifar10 cat-free --request 3fa2

    With ONNX, compared with torch: dkvb export roots/cifar10 cat-free --request 3fa2 --onnx --images data/cifar10
    """
    from jobs.elsewhere import forgotten_elsewhere
    from jobs.models.export import COMPARED, Wanted
    from jobs.models.export import export as write
    from jobs.results.experiment import find

    wanted = Wanted(
        request=request,
        before=before,
        head=head,
        backbone=backbone,
        onnx=onnx,
        images=images,
        items=items or COMPARED,
        weights=weights,
        certificate=certificate,
        licence=licence,
    )
    found = find(root, experiment)
    done = write(found, folder, wanted, tell=lambda text: say(text, err=True))
    for text in forgotten_elsewhere(found):
        say(f"note: {text}", err=True)
    say(json.dumps(done.to_json(), indent=2) if as_json else done.text())


@click.command(short_help="Send an exported model to a Hugging Face hub.")
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("repository", metavar="OWNER/NAME")
@click.option("--public", is_flag=True, help="Anybody may see it; otherwise the repository is private.")
@JSON
def push(folder: Path, repository: str, *, public: bool, as_json: bool) -> None:
    """Send an exported FOLDER to a repository of a hub, which is made where there is none; every file is checked first.

    The hub is https://huggingface.co, or the one that HF_ENDPOINT names; who pushes says `hf auth login` or HF_TOKEN.

    Example: dkvb push cat-free my-lab/cat-free
    """
    from jobs.models.push import push as send

    done = send(folder, repository, public=public)
    say(json.dumps(done.to_json(), indent=2) if as_json else done.text())
