"""Pushing: an exported folder to a hub of Hugging Face's kind, by its own client.

Where the hub is says HF_ENDPOINT, who pushes HF_TOKEN or `hf auth login`: neither is ever part of a command.
"""

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dkvb.pretrained import CARD, CONFIG, MODEL, OURS, Config, check_certificate, check_file, file_stamp, read_config
from dkvb.weights import brief
from jobs.errors import BadRequest, JobsError
from jobs.printable import shown


class HubRefused(JobsError, ConnectionError):
    """A hub that cannot be reached, or does not take what is pushed."""

    final = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """What is on a hub now."""

    repository: str
    url: str
    commit: str
    """Name of the commit: `from_pretrained(..., revision=...)` takes it."""
    private: bool
    digest: str
    """SHA-256 of config.json."""
    files: list[str]
    earlier: bool
    """Whether the repository held another model before, which its history keeps."""

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return asdict(self)

    def text(self) -> str:
        """For people."""
        who = "private" if self.private else "public"
        lines = [
            f"pushed: {len(self.files)} files to {shown(self.url)} ({who})",
            f"  commit        {shown(self.commit)}",
            f"  digest        {self.digest} (of {CONFIG})",
        ]
        if self.earlier:
            lines.append(
                "  note          the model that was there before stays in the history of the repository: whoever may "
                "read it can load it; where that must not be, delete the repository and push to a new one"
            )
        return "\n".join(
            [*lines, f"Load it: dkvb.pretrained.from_pretrained({self.repository!r}, digest={self.digest!r})"]
        )


def push(folder: Path, repository: str, *, public: bool = False) -> Pushed:
    """Send an exported folder to a repository, which is made where there is none.

    folder: each of its files is checked before anything is sent; files that no export writes stay here.
    repository: "owner/name".
    public: whether anybody may see it. A repository that is public already is not pushed to without it.
    raises: BadRequest; ModelMissing, BadCheckpoint for a folder that is no export, or a damaged one; HubRefused.
    """
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", repository):
        raise BadRequest(f"{repository!r}: expected owner/name, such as my-lab/cat-free")
    config = read_config(folder)
    for name in config.files:
        check_file(folder, config, name)
    check_certificate(folder, config)
    files = [CONFIG, *([CARD] if (folder / CARD).is_file() else []), *config.files]
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants

    api = HfApi(library_name="dkvb")
    try:
        api.create_repo(repository, private=not public, exist_ok=True)
        info = api.model_info(repository)
        if not info.private and not public:
            raise BadRequest(
                f"{repository}: is public on {constants.ENDPOINT}: everybody would have the model, and what the card "
                "says was forgotten; push with --public if that is meant, or to another repository"
            )
        there = {each.rfilename for each in info.siblings or ()}
        gone = [name for name in OURS if name in there and name not in files]
        add = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=folder / name) for name in files]
        # One commit: a repository never holds the files of two exports.
        commit = api.create_commit(
            repository,
            [*add, *(CommitOperationDelete(path_in_repo=name) for name in gone)],
            commit_message=_message(config),
        )
    except BadRequest:
        raise
    except Exception as error:  # the client's errors share no base across its versions
        raise HubRefused(_refused(repository, constants.ENDPOINT, error)) from error
    return Pushed(
        repository=repository,
        url=f"{constants.ENDPOINT}/{repository}",
        commit=str(commit.oid),
        private=bool(info.private),
        digest=file_stamp(folder / CONFIG).split()[0],
        files=files,
        earlier=MODEL in there and str(commit.oid) != str(info.sha),
    )


def _message(config: Config) -> str:
    """What the hub's history says: nothing of a person."""
    request = config.header.get("unlearned") or {}
    return f"dkvb: {config.head} of {shown(config.experiment)}" + (f", {shown(request['method'])}" if request else "")


def _refused(repository: str, endpoint: str, error: Exception) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        hint = "; log in with `hf auth login`, or set HF_TOKEN to a token that may write there"
    elif status is None:
        hint = f"; is {endpoint} the hub that is meant? HF_ENDPOINT names another one"
    else:
        hint = ""
    return f"{repository}: {endpoint} did not take it: {brief(error)}{hint}"
