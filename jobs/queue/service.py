"""Services that keep a reconciler going: a systemd unit, or a CronJob of Kubernetes. No secret is in either."""

import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from string import Template

from cluster.address import host_and_port, is_loopback
from cluster.errors import InvalidRequest
from cluster.files.render import DKVB_IMAGE, installed_ray, tag_of
from jobs.errors import BadRequest
from jobs.printable import in_one_line
from jobs.queue.files import read_queue
from jobs.queue.job import Job
from store.errors import StoreError
from store.places import Place, absolute

CARRIED = (
    "RAY_AUTH_MODE",
    "RAY_AUTH_TOKEN_PATH",
    "RAY_API_SERVER_ADDRESS",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
)
"""Variables of whoever asks that a unit is given, where they are set: a service has none of a shell's. No secrets."""

SECRETS = ("RAY_AUTH_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
"""Variables that are not written into a file."""

TEMPLATES = Path(__file__).parent / "templates"

NAME = re.compile(r"[a-z]([a-z0-9-]{0,50}[a-z0-9])?")
"""Of a unit and of a CronJob, to which Kubernetes adds 11 characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A reconciler that is to be kept going."""

    queue: Place
    max_running: int
    every: float
    """Seconds between two passes."""
    name: str

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise BadRequest(
                f"--name: found {self.name!r}, expected 1 to 52 lowercase letters, digits and hyphens, a letter first "
                "and no hyphen last"
            )
        if not str(self.queue).isprintable():
            raise BadRequest(f"--queue: found {str(self.queue)!r}, expected no control characters in the name")

    @property
    def words(self) -> list[str]:
        """The words of one pass, behind `dkvb`."""
        return ["jobs", "reconcile", "--queue", str(absolute(self.queue)), "--max-running", str(self.max_running)]


def unit(service: Service, tell: Callable[[str], None]) -> str:
    """The text of a systemd unit; what is no secret of this process's variables goes into it (CARRIED).

    tell: is given a line for what the service lacks of them.
    raises: BadRequest for a place that is no queue, or where dkvb is not installed.
    """
    _jobs(service.queue, tell)
    program = Path(sys.executable).with_name("dkvb")  # not resolved: it is a link in a virtual environment
    if not program.is_file():
        raise BadRequest(
            f"jobs service: {program} is missing, which the unit would start; pip install dkvb there first"
        )
    given = {name: value for name in CARRIED if (value := os.environ.get(name))}
    carried = {name: value for name, value in given.items() if "@" not in value or not name.startswith("AWS_ENDPOINT")}
    if lacking := [name for name in SECRETS if os.environ.get(name)] + [name for name in given if name not in carried]:
        remedy = "put a token into ~/.ray/auth_token (chmod 600), keys into ~/.aws/credentials"
        tell(f"{', '.join(lacking)}: not written into the unit, where everybody would read it; {remedy}")
    token = Path(carried.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    if token.is_file() or "RAY_AUTH_TOKEN_PATH" in carried:  # named, as a unit of the system has another HOME
        carried["RAY_AUTH_TOKEN_PATH"] = str(absolute(token))
    words = [str(program), *service.words, "--watch", "--every", f"{service.every:g}"]
    return _template("reconcile.service").substitute(
        name=service.name,
        description=_specifiers(str(service.queue)),
        environment="\n".join(
            f"Environment={_quoted(f'{name}={_specifiers(value)}')}"
            for name, value in {"RAY_USAGE_STATS_ENABLED": "0", **carried}.items()
        ),
        command=" ".join(_quoted(_specifiers(word).replace("$", "$$")) for word in words),
    )


def _template(name: str) -> Template:
    return Template((TEMPLATES / name).read_text(encoding="utf-8"))


def _specifiers(text: str) -> str:
    """A text in which systemd finds no specifier such as %h."""
    return text.replace("%", "%%")


def _quoted(word: str) -> str:
    """A word as systemd reads it back, in quotes only where it needs them."""
    if re.fullmatch(r"[\w@%+=:,./$-]+", word):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def cronjob(service: Service, *, image: str | None, secret: str | None, tell: Callable[[str], None]) -> str:
    """The text of a CronJob.

    image: with dkvb in it; None for a name to fill in.
    secret: name of the Secret that holds the cluster's token under `auth_token`; None for a name to fill in.
    tell: is given a line for each cluster that jobs of the queue name and no pod reaches.
    raises: BadRequest for a place that is no queue, an image without a tag, or seconds that are no whole minutes.
    """
    minutes, rest = divmod(service.every, 60)
    if rest or not 1 <= minutes <= 59:
        raise BadRequest(
            f"--every: found {service.every:g} s, expected whole minutes, 60 to 3540: a CronJob has no smaller steps"
        )
    if image is not None and (
        tag_of(image) in (None, "latest", "nightly") or re.search(r"[\s\"'{}\[\],#&*!|>%`]", image)
    ):
        raise BadRequest(f"--image: found {image!r}, expected REPOSITORY:TAG with a tag that stays what it is")
    if secret is not None and not re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", secret):
        raise BadRequest(f"--secret: found {secret!r}, expected the name of a Secret")
    for address in dict.fromkeys(job.assignment.address for job in _jobs(service.queue, tell)):
        if _is_here(address):
            tell(f"{address}: jobs of the queue name this cluster, and a pod does not reach it there")
    queue = absolute(service.queue)
    volume = (
        _template("volume.yaml").substitute(folder=json.dumps(str(queue.parent))) if isinstance(queue, Path) else ""
    )
    return _template("cronjob.yaml").substitute(
        name=service.name,
        schedule="* * * * *" if minutes == 1 else f"*/{minutes:g} * * * *",
        image=image or DKVB_IMAGE.format(ray=installed_ray()),
        image_comment="" if image else "  # EDIT: yours, with dkvb in it (docs/cluster.md)",
        arguments=json.dumps([word.replace("$(", "$$(") for word in [*service.words, "--every", f"{service.every:g}"]]),
        secret=secret or "edit-me",
        secret_comment="" if secret else "  # EDIT",
        volume=volume.rstrip(),
    )


def _jobs(queue: Place, tell: Callable[[str], None]) -> list[Job]:
    """The jobs of a queue; none where it cannot be reached from here, which whoever runs the file may well do.

    raises: BadRequest for a place that was reached and is no queue.
    """
    try:
        return read_queue(queue, tell)
    except (OSError, StoreError) as error:
        why = in_one_line(str(error))
        tell(f"{why} (the queue was not looked at: whether it is one, and which clusters its jobs name)")
        return []


def _is_here(address: str) -> bool:
    """Whether an address leads to the machine itself that uses it."""
    try:
        return address == "auto" or is_loopback(host_and_port(address, ("http", "https"))[0])
    except InvalidRequest:  # the reconciler tells of it
        return False
