"""Serve an exported model over HTTP, and forget while requests come: `python docs/serve.py FOLDER --masks DIR`.

    curl --data-binary @photo.png http://127.0.0.1:8000        {"class": "dog", "forgotten": ["cat"]}

A mask that is put into DIR is taken within a fraction of a second: requests that are being answered end with the model
that they began with, and those that come later see the one that has forgotten. Masks add up, and all that lie in DIR
are taken at the start, so nothing that was forgotten comes back.
"""

import argparse
import io
import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import torch
from PIL import Image

from dkvb.checkpoint import read_mask_header
from dkvb.errors import DkvbError
from dkvb.pretrained import from_pretrained
from dkvb.torch import Model

LARGEST = 20_000_000
"""Bytes of an image."""


class Served:
    """The model that answers, and what it has forgotten."""

    def __init__(self, folder: str, masks: Path) -> None:
        model = from_pretrained(folder)
        assert isinstance(model, Model), "a linear head has no pairs that a mask could take"
        self.now = model, list((model.header.get("unlearned") or {}).get("classes") or [])
        self.masks = masks
        self.seen: set[tuple[str, int, int]] = set()

    def look(self) -> None:
        """Take the masks that are new; raises: DkvbError for one of another model, or a damaged one."""
        for path in sorted(self.masks.glob("*.safetensors")):
            about = path.stat()
            if (stamp := (path.name, about.st_mtime_ns, about.st_size)) in self.seen:
                continue
            self.seen.add(stamp)  # one that is refused is looked at again once it has changed
            model, forgotten = self.now
            model, gone = model.mask(path), read_mask_header(path)["classes"]
            # One assignment: a request sees the model before it or after it, and never half of each.
            self.now = model, [*forgotten, *(name for name in gone if name not in forgotten)]
            print(f"forgotten: {', '.join(self.now[1])}", flush=True)

    def watch(self) -> None:
        """Look every 0.2 s; a mask that is refused changes nothing."""
        while True:
            time.sleep(0.2)
            try:
                self.look()
            except (DkvbError, OSError) as error:
                print(f"refused: {error}", flush=True)

    @torch.inference_mode()
    def answer(self, data: bytes) -> dict[str, object]:
        """What the model says of an encoded image; raises: OSError, ValueError for one that cannot be read."""
        model, forgotten = self.now
        with Image.open(io.BytesIO(data)) as image:
            logits = model(model.transform(image.convert("RGB"))[None])
        return {"class": model.classes[int(logits.argmax())], "forgotten": forgotten}


def handler(served: Served) -> type[BaseHTTPRequestHandler]:
    """Answers to requests: an image is posted, JSON comes back."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            if not 0 < length <= LARGEST:
                self.send_error(413, f"expected an image of at most {LARGEST} bytes")
                return
            try:
                said = json.dumps(served.answer(self.rfile.read(length))).encode()
            except (OSError, ValueError) as error:
                self.send_error(400, f"not an image that can be read: {error}")
                return
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            """Requests are not printed."""

    return Handler


def main() -> None:
    """Serve until Ctrl-C."""
    words = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    words.add_argument("folder", help="what `dkvb export` wrote, or owner/name of a repository on a hub")
    words.add_argument("--masks", type=Path, required=True, help="a folder of masks, looked at all the time")
    words.add_argument("--port", type=int, default=8000)
    given = words.parse_args()
    served = Served(given.folder, given.masks)
    served.look()  # a mask that is refused at the start is no reason to serve without it
    Thread(target=served.watch, daemon=True).start()
    server = ThreadingHTTPServer(("127.0.0.1", given.port), handler(served))
    print(f"ready: http://127.0.0.1:{server.server_port}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


if __name__ == "__main__":
    main()
