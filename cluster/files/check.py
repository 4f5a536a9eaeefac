"""Checks of a cluster file: those that hold for all files; then those of its kind."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from cluster.errors import InvalidRequest, UnreadableYaml
from cluster.files import kubectl, kubernetes, kueue, ray_up
from cluster.files.document import nearest, read_documents, word
from cluster.files.finding import Finding, Notes
from cluster.files.render import TEMPLATES
from cluster.files.schemas import Schemas

_SECRETS = {
    "an AWS access key": re.compile(r"\b(AKIA|ASIA)[A-Z0-9]{16}\b"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "a Hugging Face token": re.compile(r"\bhf_[A-Za-z0-9]{30,}\b"),
    "a GitHub token": re.compile(r"\bgh[pousr]_[A-Za-z0-9]{30,}\b"),
    "a secret": re.compile(
        r"(?<![/\w.-])(aws_secret_access_key|aws_session_token|ray_auth_token|auth_token|secret_key|password)"
        r"""["']?\s*[:=]\s*["']?[A-Za-z0-9+][A-Za-z0-9+/=_.-]{7,}""",
        re.IGNORECASE,
    ),
}
"""What a secret looks like; every line is searched, comments too."""
_PLACEHOLDER = re.compile(r"edit-me|registry\.example\.com|\b192\.0\.2\.\d+\b", re.IGNORECASE)
"""Values in the templates that the user has to replace."""


def check(
    path: Path, *, schemas: Schemas | None = None, server: bool = False, more: Callable[[Notes], None] | None = None
) -> list[Finding]:
    """The findings in a file for `ray up`, KubeRay or Kueue, by line.

    schemas: of Kubernetes' kinds; a warning says which objects' fields were not checked.
    server: whether the cluster of kubectl is asked to try each Kubernetes object.
    more: a check of each Kubernetes object by its caller, before those here.

    raises: InvalidRequest if the file, or a schema, cannot be read, or the cluster cannot be asked.
    """
    file = str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidRequest(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{file}: not UTF-8: {error}") from error
    secrets = _secrets(file, text)
    try:
        documents = read_documents(text)
    except UnreadableYaml as error:
        remedy = "correct it; the rest was not looked at"
        return [*secrets, _in_line(file, error.line, error.problem, "readable YAML", remedy)]
    if not documents:
        remedy = "`dkvb cluster render` makes a file to begin with"
        return [*secrets, _in_line(file, 1, "nothing", "readable YAML", remedy)]
    notes = [Notes(file, document) for document in documents]
    on_kubernetes = [each for each in notes if _check_document(each)]
    _check_rendered(notes, text)
    if more is not None:
        for each in on_kubernetes:
            more(each)
    unchecked = [each for each in on_kubernetes if not kubernetes.check_kind(each, schemas)]
    kueue.check_queues(on_kubernetes)
    kubernetes.check_named(on_kubernetes)
    for each in on_kubernetes if server else ():
        kubectl.try_on_server(each)
    if not server:
        _say_unchecked(unchecked, schemas)
    found = sorted([*secrets, *(finding for each in notes for finding in each)], key=lambda finding: finding.line)
    once = {(each.line, each.where.rpartition(".")[2], each.found, each.expected): each for each in reversed(found)}
    return [*once.values()][::-1]


def _say_unchecked(unchecked: Sequence[Notes], schemas: Schemas | None) -> None:
    """Warn of the objects whose fields were not checked, so that silence never means sound."""
    kinds = [word(each.document.value, "kind") for each in unchecked]
    ours = dict.fromkeys(kind for kind in kinds if kind in kubernetes.VERSIONS)
    for each, kind in zip(unchecked, kinds, strict=True):
        if kind not in ours:
            found = f"{kind} {word(each.document.value, 'metadata', 'name')}".rstrip()
            expected = "a kind of KubeRay or Kueue, or the CRD of another"
            remedy = "its fields were not checked: give --server, and the cluster tries it (docs/cluster.md)"
            each.warning(("kind",), found, expected=expected, remedy=remedy)
        elif each is unchecked[kinds.index(next(iter(ours)))]:
            expected = f"a CRD of each in {schemas.source}" if schemas else "a CRD of each"
            remedy = "field names and types were not checked: give --crds PATH, --kubectl or --server (docs/cluster.md)"
            each.warning(("kind",), f"no schema for {', '.join(ours)}", expected=expected, remedy=remedy)


def _check_document(notes: Notes) -> bool:
    """Note what is wrong in any document, and in a file for `ray up`; returns whether it is one for Kubernetes."""
    value = notes.document.value
    for keys in notes.document.twice:
        remedy = "YAML keeps the last: remove the others"
        notes.error(keys, "the same key again", expected="each key once", remedy=remedy)
    _check_placeholders(notes)
    if not isinstance(value, dict):
        remedy = "`dkvb cluster render` shows what it looks like"
        notes.error((), type(value).__name__, expected="a mapping", remedy=remedy)
    elif "kind" in value or "apiVersion" in value:
        return True
    elif "provider" in value or "cluster_name" in value or nearest("provider", map(str, value)):
        ray_up.check_cluster(notes)
    else:
        expected = "`provider` (a file for ray up) or `apiVersion` and `kind` (one for Kubernetes)"
        found = f"the keys {', '.join(map(str, value))}"
        notes.error((), found, expected=expected, remedy="`dkvb cluster render` makes either")
    return False


def _check_placeholders(notes: Notes) -> None:
    for keys, text in notes.document.texts:
        if left := _PLACEHOLDER.search(text):
            notes.warning(keys, left[0], expected="a value of yours", remedy="edit this line")


def _check_rendered(all_notes: Sequence[Notes], text: str) -> None:
    """Warn of lines marked EDIT whose value is the template's own; a placeholder is told of by its own check."""
    ours = {value for each in TEMPLATES.glob("*.yaml") for _, value in _to_edit(each.read_text(encoding="utf-8"))}
    remedy = "edit this line; where it is right as it is, remove EDIT from its comment"
    for number, line in _to_edit(text):
        key, _, value = line.removeprefix("- ").partition(": ")
        places = [
            (each, keys) for each in all_notes for keys, at in each.document.lines.items() if at == number and keys
        ]
        for each, keys in [place for place in places if place[1][-1] == key][:1] if line in ours else ():
            each.warning(keys, f"{value.strip()}, as rendered", expected="a value of yours", remedy=remedy)


def _to_edit(text: str) -> Iterator[tuple[int, str]]:
    """Lines with a value of their own that EDIT marks, in their comment or in one above: number, and no comment."""
    marked = False
    for number, line in enumerate(text.splitlines(), start=1):
        value, _, comment = line.partition("#")
        marked = marked or "EDIT:" in comment
        if marked and re.search(r": +[^\s>|]", value) and not _PLACEHOLDER.search(value):
            yield number, value.strip()
        marked = marked and not value.strip()


def _secrets(file: str, text: str) -> list[Finding]:
    expected = "no secret in a file that is shared and kept in git"
    remedy = "remove it and replace it (this value is exposed); pass the new one by file mount, Secret or role"
    return [
        _in_line(file, number, f"what looks like {kind} (not shown)", expected, remedy)
        for number, line in enumerate(text.splitlines(), start=1)
        for kind in [next((kind for kind, pattern in _SECRETS.items() if pattern.search(line)), None)]
        if kind
    ]


def _in_line(file: str, line: int, found: str, expected: str, remedy: str) -> Finding:
    where = "the file"
    return Finding(file=file, line=line, severity="error", where=where, found=found, expected=expected, remedy=remedy)


def summary(findings: Iterable[Finding]) -> str:
    """How many findings there are of each severity: `2 errors, 1 warning`."""
    severities = [finding.severity for finding in findings]
    counts = ((severities.count(kind), kind) for kind in ("error", "warning"))
    return ", ".join(f"{count} {kind}{'' if count == 1 else 's'}" for count, kind in counts)
