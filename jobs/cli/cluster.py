"""`dkvb cluster`: files for `ray up` and KubeRay, rendered and checked."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cluster.errors import InvalidRequest
from jobs.cli.completing import specs
from jobs.cli.options import JSON
from jobs.cli.output import show_new
from jobs.errors import BadRequest
from jobs.printable import say
from store.places import quoted

if TYPE_CHECKING:
    from cluster.files.render import Run


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
@click.option(
    "--for",
    "spec",
    metavar="SPEC",
    shell_complete=specs,
    help="On Kubernetes: the spec that is run, in pods with the memory and disk that it needs.  [default: cifar10]",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="A new file; standard output unless given.")
@JSON
def render(
    provider: str,
    *,
    name: str,
    max_workers: int | None,
    image: str | None,
    spec: str | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Make a cluster file; the lines that are yours to fill in are marked EDIT.

    Example: dkvb cluster render --provider gcp --max-workers 8 -o ray-cluster.yaml
    """
    from cluster.files.render import render

    with _as_usage():
        run = _run_of(spec, provider) if spec is not None else None
        text = render(provider, name=name, max_workers=max_workers, image=image, run=run)
    show_new(output, text, as_json=as_json, following=f"dkvb cluster check {quoted(output)}")


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
@JSON
def check(files: tuple[Path, ...], *, crds: Path | None, kubectl: bool, server: bool, as_json: bool) -> None:
    """Check cluster files: what is wrong, in which line, and what to do. Exit code 1 if there are errors.

    Nobody is asked, except with --kubectl or --server, which change nothing in the cluster. Nothing is written.

    Example: dkvb cluster check run.yaml --crds crds/
    """
    from cluster.installed import require_ray

    require_ray("cluster check: Ray's schema of a cluster file")
    from cluster.files.check import check, summary
    from cluster.files.kubectl import ask_schemas
    from cluster.files.schemas import read_schemas
    from jobs.cli.entrypoint import check_entrypoint

    if crds and kubectl:
        raise BadRequest("cluster check: --crds and --kubectl are two sources of the same; give one of them")
    with _as_usage():
        schemas = read_schemas(crds) if crds else ask_schemas() if kubectl else None
        findings = [
            finding for file in files for finding in check(file, schemas=schemas, server=server, more=check_entrypoint)
        ]
    if as_json:
        say(json.dumps([finding.row() for finding in findings], indent=2))
    else:
        say("\n".join([*map(str, findings), f"{len(files)} checked: {summary(findings)}"]))
    sys.exit(any(finding.severity == "error" for finding in findings))


def _run_of(spec: str, provider: str) -> "Run":
    """The run of a spec, in pods in which its steps have room; raises: BadRequest, BadSpec."""
    from cluster.files.render import ON_KUBERNETES, Run
    from jobs.cli.entrypoint import needs_of
    from jobs.plan.cost import pod_memory
    from jobs.spec.library import shipped
    from jobs.spec.reading import load_specs

    if provider not in ON_KUBERNETES:
        raise BadRequest(
            f"--for: found --provider {provider}, expected {' or '.join(ON_KUBERNETES)}: machines for `ray up` have "
            "the memory of their type; `dkvb plan` prints what the steps need"
        )
    specs = load_specs(spec)
    gpu, cpu = pod_memory(specs)
    disk = max(need.gib for need in needs_of(specs) if need.resource == "ephemeral-storage")
    named = spec if spec in shipped() else f"/edit-me/{Path(spec).name}"  # a file lies elsewhere in the pods
    return Run(spec=named, gpu_memory=gpu, cpu_memory=cpu, disk=disk)


@contextmanager
def _as_usage() -> Iterator[None]:
    """Report a value or a file that makes no sense as a mistake of usage: exit code 2."""
    try:
        yield
    except InvalidRequest as error:
        raise BadRequest(str(error)) from error
