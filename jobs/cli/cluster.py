"""`dkvb cluster`: files for `ray up` and KubeRay, rendered and checked."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from cluster.errors import InvalidRequest
from jobs.errors import BadRequest
from jobs.printable import say


@click.group(short_help="Make and check cluster files, for `ray up` and KubeRay.")
def cluster() -> None:
    """Cluster files for `ray up` and for KubeRay: make one, check one. docs/cluster.md walks through it.

    Example: dkvb cluster render --provider aws -o ray-cluster.yaml
    """


@cluster.command()
@click.option(
    "--provider",
    type=click.Choice(["aws", "gcp", "local", "kuberay", "kueue"]),
    default="aws",
    show_default=True,
    help="aws, gcp, local (machines of your own): for `ray up`; kuberay, kueue: for kubectl.",
)
@click.option("--name", default="dkvb", show_default=True, help="Name of the cluster, or of the run on Kubernetes.")
@click.option(
    "--max-workers", type=int, metavar="N", help="Most workers: what bounds the cost.  [default: 4; local: 2]"
)
@click.option("--image", help="Container image with its tag.  [default: Ray's for GPUs, with your version of Ray]")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="A new file; standard output unless given.")
def render(provider: str, *, name: str, max_workers: int | None, image: str | None, output: Path | None) -> None:
    """Make a cluster file; the lines that are yours to fill in are marked EDIT.

    Example: dkvb cluster render --provider gcp --max-workers 8 -o ray-cluster.yaml
    """
    from cluster.files.render import render

    with _as_usage():
        text = render(provider, name=name, max_workers=max_workers, image=image)
    _write_new(output, text)


@cluster.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--crds",
    type=click.Path(exists=True, path_type=Path),
    metavar="PATH",
    help="A file or a folder with CRDs of KubeRay and Kueue: check every field against them.",
)
@click.option("--kubectl", is_flag=True, help="Check every field against the CRDs of the cluster that kubectl reaches.")
@click.option("--server", is_flag=True, help="Let that cluster try each object: `kubectl apply --dry-run=server`.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(files: tuple[Path, ...], *, crds: Path | None, kubectl: bool, server: bool, as_json: bool) -> None:
    """Check cluster files: what is wrong, in which line, and what to do. Exit code 1 if there are errors.

    Nobody is asked, except with --kubectl or --server, which change nothing in the cluster. Nothing is written.

    Example: dkvb cluster check run.yaml --crds crds/
    """
    from cluster.files.check import check, summary
    from cluster.files.kubectl import ask_schemas
    from cluster.files.schemas import read_schemas

    if crds and kubectl:
        raise BadRequest("cluster check: --crds and --kubectl are two sources of the same; give one of them")
    with _as_usage():
        schemas = read_schemas(crds) if crds else ask_schemas() if kubectl else None
        findings = [finding for file in files for finding in check(file, schemas=schemas, server=server)]
    if as_json:
        say(json.dumps([finding.row() for finding in findings], indent=2))
    else:
        say("\n".join([*map(str, findings), f"{len(files)} checked: {summary(findings)}"]))
    sys.exit(any(finding.severity == "error" for finding in findings))


@contextmanager
def _as_usage() -> Iterator[None]:
    """Report a value or a file that makes no sense as a mistake of usage: exit code 2."""
    try:
        yield
    except InvalidRequest as error:
        raise BadRequest(str(error)) from error


def _write_new(path: Path | None, text: str) -> None:
    """Write a new file, never over one that someone may have edited; None: print the text."""
    if path is None:
        say(text, nl=False)
        return
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise BadRequest(f"{path}: already exists; name another file, or remove it first") from error
    except OSError as error:
        raise BadRequest(f"{path}: cannot be written: {error.strerror}") from error
