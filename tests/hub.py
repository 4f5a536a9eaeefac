"""A hub on this machine: the few routes of Hugging Face's that its client needs to push a model, and to fetch files.

It is the far end of `dkvb push`, `from_pretrained`, `dkvb data` and `hf://` in tests: the client is the real one, over
HTTP. Repositories are kept in memory; large files go by the LFS protocol, as on the hub (without its Xet storage).
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_" + "t" * 34
LARGE = 100_000
"""Bytes from which on a file goes by LFS."""


@dataclass
class Repository:
    private: bool
    gated: bool = False
    """Whether its files are for those alone who have a token."""
    card: dict[str, Any] = field(default_factory=dict)
    """What its card says of it in front matter."""
    commits: list[dict[str, bytes]] = field(default_factory=lambda: [{".gitattributes": b""}])
    messages: list[str] = field(default_factory=lambda: ["initial commit"])

    def name(self, number: int) -> str:
        return hashlib.sha1(repr((number, self.messages[number])).encode()).hexdigest()

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """Name and files of a commit."""
        names = [self.name(k) for k in range(len(self.commits))]
        if revision == "main":
            return names[-1], self.commits[-1]
        return (revision, self.commits[names.index(revision)]) if revision in names else None


@dataclass
class Hub:
    address: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    """By name; those of data sets begin with "datasets/"."""
    large: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)
    """Name of a file -> what is wrong with its download: "cut off", "stalled", "changed", or "gone"."""
    stalled: threading.Event = field(default_factory=threading.Event)
    """Set once the half of a file is sent and nothing follows, until the hub ends or `go_on` is set."""
    go_on: threading.Event = field(default_factory=threading.Event)

    def add_dataset(self, name: str, files: dict[str, bytes], **about: Any) -> Repository:
        """A public repository of a data set, with one commit."""
        made = Repository(private=False, commits=[files], **about)
        self.repositories[f"datasets/{name}"] = made
        return made

    def environment(self, home: object, token: str = TOKEN) -> dict[str, str]:
        """By which the client finds it, with a cache of its own."""
        return {
            "HF_ENDPOINT": self.address,
            "HF_TOKEN": token,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1",
        }


def blob(data: bytes) -> str:
    """The name that git gives to a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@contextmanager
def local_hub() -> Iterator[Hub]:
    """A hub that answers until the block ends."""
    hub = Hub()

    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Routes,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
        hub.go_on.set()
        server.shutdown()
        thread.join()
        server.server_close()


DAY = "2026-01-01T00:00:00.000Z"


class Routes(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, *_: Any) -> None:
        """Nothing is printed."""

    def do_POST(self) -> None:
        body, path = self.content(), self.path_of()
        if found := re.fullmatch(r"/api/(datasets/[^/]+/[^/]+)/paths-info/([^/]+)", path):
            return self.paths_info(found[1], found[2], parse_qs(body.decode())["paths"])
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer(401, {"error": "Invalid username or password."})
        if path == "/api/validate-yaml":
            return self.answer(200, {"errors": [], "warnings": []})
        if path == "/api/repos/create":
            return self.create(json.loads(body))
        if found := re.fullmatch(r"/(.+)\.git/info/lfs/objects/batch", path):
            return self.batch(json.loads(body))
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit)/(.+)", path):
            if found[2] == "commit":
                return self.commit(found[1], body)
            there = self.hub.repositories[found[1]].commits[-1]
            return self.answer(200, {"files": [self.mode(each, there) for each in json.loads(body)["files"]]})
        return self.answer(404, {"error": path})

    def do_PUT(self) -> None:
        data = self.content()
        oid = self.path_of().rpartition("/")[2]
        if hashlib.sha256(data).hexdigest() != oid:
            return self.answer(400, {"error": "not what was announced"})
        self.hub.large[oid] = data
        return self.answer(200, {})

    def do_GET(self) -> None:
        path = self.path_of()
        if found := re.fullmatch(
            r"/api/(?:models|(datasets))/([^/]+/[^/]+?)(?:/(revision|tree|commits)/([^/]+)(/.+)?)?/?", path
        ):
            repository = self.readable("/".join(filter(None, found.groups()[:2])))
            at = None if repository is None else repository.at(found[4] or "main")
            if repository is None or at is None:
                return self.missing(repository is None)
            name, files = at
            if found[3] == "commits":  # older clients ask when a folder was changed
                return self.answer(200, [{"id": name, "title": "", "message": "", "date": DAY, "authors": []}])
            if found[3] == "tree":
                return self.tree(files, (found[5] or "").strip("/"))
            about = {"id": found[2], "sha": name, "private": repository.private, "cardData": repository.card}
            about |= {"gated": "manual" if repository.gated else False}
            return self.answer(200, {**about, "siblings": [self.sibling(*each) for each in files.items()]})
        if found := re.fullmatch(r"/((?:datasets/)?[^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            repository = self.readable(found[1])
            at = None if repository is None else repository.at(found[2])
            if repository is None or at is None:
                return self.missing(repository is None)
            if repository.gated and not self.has_token():
                return self.answer(401, {"error": "Access is restricted."}, {"X-Error-Code": "GatedRepo"})
            if found[3] not in at[1]:
                return self.answer(404, {}, {"X-Error-Code": "EntryNotFound"})
            return self.file(found[3], at[1][found[3]], at[0])
        if re.fullmatch(r"/api/(models|datasets)/[^/]+", path):  # older clients ask for an owner first
            return self.missing(whole=True)
        return self.answer(404, {"error": path})

    def file(self, name: str, data: bytes, commit: str) -> None:
        """A file, or the part of it that is asked for."""
        headers = {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha256(data).hexdigest()}"', "Accept-Ranges": "bytes"}
        wrong = self.hub.broken.get(name) if self.command == "GET" else None
        if wrong == "gone":
            return self.answer(500, {"error": "out of order"})
        if wrong == "changed":
            data = bytes([data[0] ^ 1]) + data[1:]
        if (part := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))) is None:
            return self.answer(200, data, headers, half=wrong if wrong in ("cut off", "stalled") else None)
        first, last = int(part[1]), min(int(part[2] or len(data)), len(data) - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
        return self.answer(206, data[first : last + 1], headers)

    def tree(self, files: dict[str, bytes], below: str) -> None:
        """The files and folders in a folder; with `recursive` those below it too."""
        begin = f"{below}/" if below else ""
        inside = {path: data for path, data in files.items() if path.startswith(begin)}
        if below and not inside:
            return self.answer(404, {"error": below}, {"X-Error-Code": "EntryNotFound"})
        deep = "recursive=true" in urlsplit(self.path).query.lower()
        folders = {
            path[: len(begin)] + path[len(begin) :].partition("/")[0] for path in inside if "/" in path[len(begin) :]
        }
        entries = [self.entry(path, data) for path, data in inside.items() if deep or "/" not in path[len(begin) :]]
        entries += [{"type": "directory", "path": folder, "oid": blob(folder.encode())} for folder in sorted(folders)]
        return self.answer(200, entries)

    def paths_info(self, of: str, revision: str, paths: list[str]) -> None:
        repository = self.readable(of)
        at = None if repository is None else repository.at(revision)
        if at is None:
            return self.missing(repository is None)
        found = [self.entry(path, at[1][path]) for path in paths if path in at[1]]
        folders = [path for path in paths if any(file.startswith(f"{path}/") for file in at[1])]
        found += [{"type": "directory", "path": folder, "oid": blob(folder.encode())} for folder in folders]
        return self.answer(200, found)

    do_HEAD = do_GET

    def content(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def path_of(self) -> str:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        return path

    def readable(self, name: str) -> Repository | None:
        repository = self.hub.repositories.get(name)
        return repository if repository is not None and (self.has_token() or not repository.private) else None

    def has_token(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def missing(self, whole: bool) -> None:
        code = "RepoNotFound" if whole else "RevisionNotFound"
        self.answer(404, {"error": code}, {"X-Error-Code": code})

    def create(self, asked: dict[str, Any]) -> None:
        name = f"{asked['organization']}/{asked['name']}"
        url = {"url": f"{self.hub.address}/{name}", "name": name}
        if name in self.hub.repositories:
            return self.answer(409, {**url, "error": "You already created this model repo"})
        private = asked.get("visibility") == "private" or asked.get("private") is True
        self.hub.repositories[name] = Repository(private=private)
        return self.answer(200, url)

    def batch(self, asked: dict[str, Any]) -> None:
        objects = []
        for each in asked["objects"]:
            upload = {"upload": {"href": f"{self.hub.address}/lfs/{each['oid']}"}}
            known = each["oid"] in self.hub.large
            objects.append({"oid": each["oid"], "size": each["size"], **({} if known else {"actions": upload})})
        self.answer(200, {"transfer": "basic", "objects": objects})

    def commit(self, of: str, body: bytes) -> None:
        repository = self.hub.repositories[of]
        files = dict(repository.commits[-1])
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "header":
                repository.messages.append(value["summary"])
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        repository.commits.append(files)
        name = repository.name(len(repository.commits) - 1)
        self.answer(200, {"success": True, "commitOid": name, "commitUrl": f"{self.hub.address}/{of}/commit/{name}"})

    def mode(self, asked: dict[str, Any], there: dict[str, bytes]) -> dict[str, Any]:
        """How a file is to be sent, and what the repository has under its name."""
        name, large = asked["path"], asked["size"] >= LARGE
        data = there.get(name)
        oid = None if data is None else hashlib.sha256(data).hexdigest() if large else blob(data)
        return {"path": name, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, "oid": oid}

    def entry(self, path: str, data: bytes) -> dict[str, Any]:
        return {"type": "file", "path": path, "size": len(data), "oid": blob(data), **self.lfs(data)}

    def sibling(self, path: str, data: bytes) -> dict[str, Any]:
        """The same, where a repository is described."""
        return {"rfilename": path, "size": len(data), "blobId": blob(data), **self.lfs(data)}

    def lfs(self, data: bytes) -> dict[str, Any]:
        if len(data) < LARGE:
            return {}
        oid = hashlib.sha256(data).hexdigest()
        return {"lfs": {"oid": oid, "sha256": oid, "size": len(data), "pointerSize": 134}}

    def answer(
        self, status: int, content: Any, headers: dict[str, str] | None = None, *, half: str | None = None
    ) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/octet-stream" if content is data else "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if half else data)
        if half == "stalled":
            self.hub.stalled.set()
            self.hub.go_on.wait()
