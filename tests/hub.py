"""A hub on this machine: the few routes of Hugging Face's that its client needs to push a model and to fetch it.

It is the far end of `dkvb push` and `from_pretrained` in tests: the client is the real one, over HTTP. Repositories are
kept in memory; large files go by the LFS protocol, as on the hub (without its newer Xet storage).
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
from urllib.parse import unquote, urlsplit

TOKEN = "hf_" + "t" * 34
LARGE = 100_000
"""Bytes from which on a file goes by LFS."""


@dataclass
class Repository:
    private: bool
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
    large: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

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
        server.shutdown()
        thread.join()
        server.server_close()


class Routes(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, *_: Any) -> None:
        """Nothing is printed."""

    def do_POST(self) -> None:
        body, path = self.content(), self.path_of()
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
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+?)(?:/(revision|tree)/([^/]+))?/?", path):
            repository = self.readable(found[1])
            at = None if repository is None else repository.at(found[3] or "main")
            if repository is None or at is None:
                return self.missing(repository is None)
            name, files = at
            if found[2] == "tree":
                return self.answer(200, [self.entry(path, data) for path, data in files.items()])
            about = {"id": found[1], "sha": name, "private": repository.private}
            return self.answer(200, {**about, "siblings": [{"rfilename": path} for path in files]})
        if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            repository = self.readable(found[1])
            at = None if repository is None else repository.at(found[2])
            if repository is None or at is None:
                return self.missing(repository is None)
            if found[3] not in at[1]:
                return self.answer(404, {}, {"X-Error-Code": "EntryNotFound"})
            data = at[1][found[3]]
            return self.answer(200, data, {"X-Repo-Commit": at[0], "ETag": f'"{hashlib.sha256(data).hexdigest()}"'})
        return self.answer(404, {"error": path})

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
        allowed = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        return repository if repository is not None and (allowed or not repository.private) else None

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
        return {"type": "file", "path": path, "size": len(data), "oid": blob(data)}

    def answer(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/octet-stream" if content is data else "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
