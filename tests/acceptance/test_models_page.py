"""docs/models.md as it stands, on the tiny experiment: its commands, its code, and its server while requests come."""

import io
import json
import re
import shlex
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dkvb.pretrained import from_pretrained
from jobs.cli.main import cli
from jobs.models.export import Wanted, export
from jobs.results.experiment import find
from jobs.unlearn import Request, unlearn
from tests.paths import REPOSITORY
from tests.processes import wait_until
from tests.tiny import picture

PAGE = (REPOSITORY / "docs" / "models.md").read_text()
COMMANDS = [line.partition("#")[0].strip() for line in re.findall(r"^\$ (dkvb [^\n]*)$", PAGE, flags=re.M)]
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
IMAGES = 5
"""Images that ONNX is compared on here."""


def block(word):
    (found,) = [text for text in BLOCKS if word in text]
    return found


@pytest.fixture(scope="module")
def place(finished, images, tmp_path_factory):
    """A folder with what the page speaks of."""
    folder = tmp_path_factory.mktemp("page")
    shutil.copytree(finished.root, folder / "roots" / "cifar10")
    (folder / "data").mkdir()
    (folder / "data" / "cifar10").symlink_to(images)
    picture(2, 1001, 32).save(folder / "photo.png")
    done = unlearn(find(folder / "roots" / "cifar10", None), Request(classes=["cat"]), measured=False)
    return folder, Path(done.mask).parent.name


def test_every_command_of_the_page_is_there_with_its_options():
    assert len(COMMANDS) >= 5
    for line in COMMANDS:
        _, name, *words = shlex.split(line)
        known = {option for parameter in cli.commands[name].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, line


def test_the_page_as_it_stands(place, monkeypatch, dkvb):
    folder, digest = place
    monkeypatch.chdir(folder)
    for line in COMMANDS:
        _, name, *words = shlex.split(line.replace("3fa2", digest[:8]))
        if name not in ("export", "verify"):
            continue
        if "--onnx" in words:
            pytest.importorskip("onnxruntime")
            pytest.importorskip("onnxscript")
            words += ["--items", str(IMAGES)]
        done = dkvb(name, *words)
        assert done.code == 0, done.err
    names: dict[str, Any] = {}
    exec(block("model.transform"), names)
    model = from_pretrained("cat-free")
    assert names["names"] == [model.classes[int(model(names["images"])[0].argmax())]]
    with Image.open("photo.png") as image:
        expected = model.transform(image.convert("RGB"))
    exec(block("InferenceSession"), names)
    assert np.abs(names["pixels"].transpose(2, 0, 1) - expected.numpy()).max() < 1e-6
    with torch.inference_mode():
        logits = model(expected[None]).numpy()
    assert np.abs(names["logits"] - logits).max() < 0.1
    assert names["name"] == names["names"][0]


def test_the_shape_of_a_server_that_forgets(place):
    folder, digest = place
    names: dict[str, Any] = {}
    exec(block("class Served"), names)
    root = find(folder / "roots" / "cifar10", None)
    whole = export(root, folder / "shape", Wanted(before=True))
    served = names["Served"](from_pretrained(whole.folder))
    images = torch.stack([served.now.transform(picture(2, 1000 + k, 32)) for k in range(5)])
    before = served.answer(images)
    served.forget(root.root / "unlearned" / digest / "mask.safetensors")
    assert "cat" in before
    assert "cat" not in served.answer(images)


def encoded(label, number):
    picture(label, number, 32).save(data := io.BytesIO(), "PNG")
    return data.getvalue()


def ask(address, data):
    with urllib.request.urlopen(urllib.request.Request(address, data, method="POST"), timeout=60) as answer:
        return json.load(answer)


def test_masks_are_taken_while_requests_come(place, tmp_path):
    folder, digest = place
    root = find(folder / "roots" / "cifar10", None)
    export(root, tmp_path / "whole", Wanted(before=True))
    masks, cat = tmp_path / "masks", root.root / "unlearned" / digest / "mask.safetensors"
    masks.mkdir()
    words = [sys.executable, REPOSITORY / "docs" / "serve.py", tmp_path / "whole", "--masks", masks, "--port", "0"]
    said: list[str] = []
    with (tmp_path / "said.txt").open("w") as out:
        server = subprocess.Popen(words, stdout=out, stderr=subprocess.STDOUT, text=True, cwd=tmp_path)
    answers: list[dict[str, Any]] = []
    wrong: list[Exception] = []
    ended = threading.Event()

    def lines():
        said[:] = (tmp_path / "said.txt").read_text().splitlines()
        return said

    def died():
        return "\n".join(lines()) if server.poll() is not None else ""

    try:
        ready = wait_until(
            lambda: next((line for line in lines() if line.startswith("ready")), ""), "the server", in_vain=died
        )
        address = ready.split()[1]
        cats = [encoded(2, 1000 + k) for k in range(5)]

        def keep_asking(first):
            k = first
            while not ended.is_set():
                try:
                    answers.append(ask(address, cats[k % len(cats)]))
                except Exception as error:
                    wrong.append(error)
                k += 1

        threads = [threading.Thread(target=keep_asking, args=(k,)) for k in range(3)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(answers) > 10, "answers")
        (masks / "other.safetensors").write_bytes(b"no mask")
        wait_until(lambda: any(line.startswith("refused") for line in lines()), "the refusal", in_vain=died)
        whole = len(answers)
        wait_until(lambda: len(answers) > whole + 5, "answers after the refusal")
        shutil.copyfile(cat, masks / "cat.tmp")
        (masks / "cat.tmp").rename(masks / "cat.safetensors")
        wait_until(lambda: "forgotten: cat" in lines(), "the change", in_vain=died)
        later = len(answers)
        wait_until(lambda: len(answers) > later + 10, "answers after the change")
        ended.set()
        for thread in threads:
            thread.join()
        with pytest.raises(urllib.error.HTTPError, match="400"):
            ask(address, b"no image")
        assert ask(address, cats[0])["forgotten"] == ["cat"]
    finally:
        ended.set()
        server.terminate()
        server.wait()
    assert wrong == []
    assert all(answer["forgotten"] == [] for answer in answers[:whole])
    assert "cat" in {answer["class"] for answer in answers[:whole]}
    after = [answer for answer in answers if answer["forgotten"]]
    assert len(after) > 5
    assert all(answer["forgotten"] == ["cat"] and answer["class"] != "cat" for answer in after)
    first = next(k for k, answer in enumerate(answers) if answer["forgotten"])
    assert all(answer["forgotten"] for answer in answers[first + len(threads) :])
    # Started anew, the server forgets again before it answers; it does not start with a mask that it refuses.
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120, cwd=tmp_path)
    assert done.returncode == 1
    assert "ready" not in done.stdout
