"""How a request is written down: its folder is prepared, then filled, and what it wrote is certified.

A request counts once it is certified: ended before that, the same request begins anew.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from dkvb.errors import DkvbError
from jobs import certificate, destroying
from jobs.certificate import Asker
from jobs.errors import JobsError
from jobs.provenance import surroundings
from jobs.results.experiment import Experiment
from store.artefacts import Artefact, Json
from store.errors import StoreError
from store.places import Place


@contextmanager
def prepared(output: Artefact, said: Json, *, keep: bool = False) -> Iterator[None]:
    """The folder of a request, for the block to fill; of one that is refused there nothing is left.

    said: the request, as its spec; keep: the folder stays then too, as an earlier request for the same made it.
    """
    output.prepare(said)
    try:
        yield
    except (DkvbError, JobsError, StoreError):
        if not keep:
            output.remove()
        destroying.withdraw(output.root, output.digest)
        raise


def certify(
    experiment: Experiment,
    output: Artefact,
    files: Mapping[str, str],
    *,
    request: Json,
    facts: Json,
    origins: Iterable[Place],
    limits: Sequence[str],
    asker: Asker,
    key_file: Path | None,
    measured: Json | None = None,
) -> Place:
    """Certify what a request wrote, and close its folder; returns its certificate in the log.

    files: SHA-256 and size of what it wrote, by its path in the folder (`store.recording`).
    request: what the certificate says of it; facts: what its provenance does.
    origins: files that it begins with, or that speak of them.
    limits: what the certificate does not say; measured: as of `jobs.certificate.body`.
    raises: BadRequest, StoreError.
    """
    root = experiment.root
    said = certificate.body(
        request=request,
        asker=asker,
        model=experiment.model,
        files=certificate.stamps(
            root,
            [*(output.path / name for name in files), *origins],
            written={output.path / name: stamp for name, stamp in files.items()},
        ),
        measured=measured,
        previous=certificate.last_entry(root),
        limits=limits,
    )
    log = certificate.write(certificate.signed(said, key_file), root, output.path)
    output.finish({"facts": dict(facts), **surroundings()}, files)
    return log
