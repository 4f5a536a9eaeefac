"""Data sets on a hub of Hugging Face's kind: looked up, fetched file by file, and found at addresses such as
``hf://datasets/owner/name@revision/folder``.

Which hub says HF_ENDPOINT, who asks HF_TOKEN or `hf auth login`: neither is part of a command or an address.
"""

import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

from store.errors import ImageDataError, ImagesMissing, ImageSourceError, PlaceUnreachable, StoreError
from store.locations import some

UNCHECKED = ".download"
"""Folder, among files that were fetched and checked, of those that the hub's client is at."""
AT_ONCE = 4
"""Files that are fetched at the same time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """A file of a repository."""

    path: str
    bytes: int
    digest: str
    """SHA-256 in hexadecimal digits; of a file that is not kept by LFS the name that git gives it (SHA-1)."""

    @property
    def name(self) -> str:
        """Its name without folders."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFiles:
    """Files of a commit of a data set's repository."""

    endpoint: str
    repository: str
    commit: str
    files: tuple[HubFile, ...]
    licence: str | None = None
    """As its card says."""
    gated: bool = False
    """Whether its files are for those alone who have accepted its terms."""

    @property
    def url(self) -> str:
        """Its page."""
        return f"{self.endpoint}/datasets/{self.repository}"

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(file.bytes for file in self.files)

    def to_json(self) -> dict[str, Any]:
        """Where they come from, and what each is."""
        about = {"endpoint": self.endpoint, "repository": self.repository, "commit": self.commit}
        return {**about, "files": [asdict(file) for file in self.files]}

    def left(self, folder: Path) -> list[HubFile]:
        """Those that are not in a folder yet."""
        return [file for file in self.files if _size(folder / file.name) != file.bytes]


def look_up(repository: str, patterns: Sequence[str], *, commit: str | None = None) -> HubFiles:
    """The files of a data set's repository whose names match a pattern, in whatever folder; nothing is fetched.

    repository: "owner/name".
    commit: None: the newest of the main branch.
    raises: PlaceUnreachable; ImagesMissing where a pattern matches no file, or two files have the same name.
    """
    from huggingface_hub import HfApi, constants

    endpoint = str(constants.ENDPOINT)
    try:
        info = HfApi(library_name="dkvb").dataset_info(repository, revision=commit, files_metadata=True)
    except Exception as error:  # the client's errors share no base across its versions
        raise unreachable(repository, error) from error
    there = {each.rfilename: each for each in info.siblings or ()}
    files = []
    for path, each in sorted(there.items()):
        if any(fnmatchcase(path.rpartition("/")[2], pattern) for pattern in patterns):
            digest = each.lfs.sha256 if each.lfs else each.blob_id
            files.append(HubFile(path=path, bytes=int(each.size or 0), digest=str(digest)))
    names = [file.name for file in files]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ImagesMissing(
                f"{repository}: commit {info.sha} on {endpoint} has no file {pattern}; it holds {some(sorted(there))}. "
                "Is it laid out in another way now? Fetch it by hand, and look at it with `dkvb init --images`"
            )
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ImagesMissing(f"{repository}: holds {twice[0]} in several folders; expected once. Fetch it by hand")
    licence = getattr(info.card_data, "license", None)
    return HubFiles(
        endpoint=endpoint,
        repository=repository,
        commit=str(info.sha),
        files=tuple(files),
        licence=", ".join(licence) if isinstance(licence, list) else licence,
        gated=bool(info.gated),
    )


def fetch(found: HubFiles, folder: Path, *, tell: Callable[[str], None]) -> None:
    """Fetch the files that a folder does not hold yet; each comes there by its name once its bytes are checked.

    Ended at any time, the same call goes on with the files that are left.
    raises: PlaceUnreachable; ImageDataError for a file that is not what the hub says it is.
    """
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

    if not sys.stderr.isatty():
        disable_progress_bars()
    left = found.left(folder)
    done, size = len(found.files) - len(left), 0

    def one(file: HubFile) -> HubFile:
        from huggingface_hub import hf_hub_download

        try:
            path = hf_hub_download(
                found.repository,
                file.path,
                repo_type="dataset",
                revision=found.commit,
                local_dir=folder / UNCHECKED,
                library_name="dkvb",
            )
        except Exception as error:
            raise unreachable(found.repository, error) from error
        fetched = Path(path)
        if (digest := _digest(fetched, git=len(file.digest) == 40)) != file.digest:
            fetched.unlink()
            raise ImageDataError(
                f"{found.repository}: {file.path} came damaged: its digest is {digest}, the hub says {file.digest}; "
                "the same command fetches it again"
            )
        fetched.replace(folder / file.name)
        return file

    with ThreadPoolExecutor(AT_ONCE) as pool:
        tasks = [pool.submit(one, file) for file in left]
        try:
            for task in as_completed(tasks):
                file = task.result()
                done, size = done + 1, size + file.bytes
                tell(f"{file.name}: {done:,} of {len(found.files):,} files, {size / 2**20:,.1f} MiB fetched")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    shutil.rmtree(folder / UNCHECKED, ignore_errors=True)


def check_address(fs: Any, path: str, location: str) -> None:
    """Whether a hub has the repository and the revision of an address.

    fs: the client's file system, on which `path` is.
    raises: ImagesMissing; ImageSourceError; PlaceUnreachable.
    """
    form = "write it as hf://datasets/owner/name@revision/folder; revision and folder may be left out"
    try:
        fs.resolve_path(path)
    except FileNotFoundError as error:
        hint = "check owner, name and revision; a private one needs HF_TOKEN or `hf auth login`"
        raise ImagesMissing(f"location {location!r}: not on {_endpoint()} ({_brief(error)}); {hint}") from error
    except (NotImplementedError, ValueError) as error:
        raise ImageSourceError(f"location {location!r}: {form} ({_brief(error)})") from error
    except Exception as error:
        raise unreachable(location, error) from error


def raise_refusal(location: str, error: Exception) -> None:
    """Raise PlaceUnreachable where an error is a hub's answer, which says nothing about what a file holds."""
    if type(error).__module__.partition(".")[0] in ("huggingface_hub", "httpx", "httpx2", "requests"):
        raise unreachable(location, error) from error


def unreachable(what: str, error: Exception) -> StoreError:
    """The error for a hub that does not answer, or turns this process away: what it says, and what to do."""
    response = getattr(error, "response", None)
    status, said = getattr(response, "status_code", None), getattr(response, "headers", {}).get("X-Error-Code")
    if said == "GatedRepo":
        name = "/".join(what.removeprefix("hf://datasets/").partition("@")[0].split("/")[:2])
        page = f"{_endpoint()}/datasets/{name}"
        hint = f"it is gated: log in at {page} and accept its terms, then set HF_TOKEN or use `hf auth login`"
    elif said == "RevisionNotFound":
        hint = "its history has changed: remove what was fetched of it, and begin anew"
    elif status in (401, 403):
        hint = "set HF_TOKEN, or log in with `hf auth login`, as someone who may read it"
    elif status == 404:
        hint = "it is not there, or not for you: check HF_ENDPOINT, and HF_TOKEN or `hf auth login`"
    else:
        hint = "HF_ENDPOINT names another hub; what was fetched is kept"
    return PlaceUnreachable(f"{what}: {_endpoint()} did not give it: {_brief(error)}; {hint}")


def _endpoint() -> str:
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _digest(path: Path, *, git: bool) -> str:
    """The digest of a file as the hub gives it; the file is on the disk afterwards."""
    head = b"blob %d\0" % path.stat().st_size
    how = partial(hashlib.sha1, head, usedforsecurity=False) if git else hashlib.sha256
    with path.open("r+b") as file:  # as some systems want it for fsync
        os.fsync(file.fileno())
        return hashlib.file_digest(file, how).hexdigest()
