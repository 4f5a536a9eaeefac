"""A certificate holds as long as nothing that it names was changed, and no longer."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from jobs import certificate, evidence
from jobs.certificate import Asker, CertificateChanged, Finding
from jobs.errors import BadRequest
from jobs.verification import verify
from store.artefacts import CERTIFICATE
from store.recording import stamp

FOLDER = "unlearned/0123456789abcdef"


def pem(folder, name):
    """A key pair; returns the files of both."""
    key = Ed25519PrivateKey.generate()
    own, public = folder / f"{name}.pem", folder / f"{name}.pub"
    own.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return own, public


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "root"
    for name in ("values/a/bottleneck.safetensors", f"{FOLDER}/mask.safetensors"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


@pytest.fixture
def keys(tmp_path):
    return pem(tmp_path, "auditor")


def write(root, key=None, **asker):
    files = {str(path.relative_to(root)): stamp(path.read_bytes()) for path in root.rglob("*.safetensors")}
    said = certificate.body(
        request={"classes": ["cät"], "method": "uva", "budget": 12},
        asker=Asker(**asker),
        model="f" * 64,
        files=files,
        measured={"forget": {"test": 0.1}},
    )
    certificate.write(certificate.signed(said, key), root, root / FOLDER)
    return root / FOLDER / CERTIFICATE


def failed(path, *more):
    return [finding.what for finding in verify(path, *more) if not finding.holds]


def test_a_signed_certificate_holds(root, keys):
    own, public = keys
    path = write(root, own, by="A. Person", ticket="T-1", reason="Art. 17")
    assert failed(path) == []
    assert failed(path, root) == []
    assert failed(path, root, public) == []
    (row,) = evidence.log(root)
    assert (row["by"], row["ticket"], row["classes"], row["signed"]) == ("A. Person", "T-1", ["cät"], True)


def test_the_root_is_found_from_any_folder(root, keys, monkeypatch):
    path = write(root, keys[0])
    monkeypatch.chdir(path.parent)
    assert failed(Path(path.name)) == []
    monkeypatch.chdir(root)
    assert failed(path.relative_to(root)) == []


def test_one_byte_in_any_file_is_seen(root, keys):
    path = write(root, keys[0])
    for file in root.rglob("*.safetensors"):
        whole = file.read_bytes()
        file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        assert failed(path) == [str(file.relative_to(root))]
        file.unlink()
        assert failed(path) == [str(file.relative_to(root))]
        file.write_bytes(whole)
    assert failed(path) == []


def test_every_word_is_signed(root, keys):
    path = write(root, keys[0], by="A. Person")
    whole = json.loads(path.read_text())
    changes: list[dict[str, Any]] = [
        {"made": "2020-01-01T00:00:00Z"},
        {"asked": {**whole["certificate"]["asked"], "by": "B. Person"}},
        {"measured": None},
        {"limits": []},
    ]
    for change in changes:
        path.write_text(json.dumps({**whole, "certificate": {**whole["certificate"], **change}}))
        assert failed(path) == ["signature", "log"]
    path.write_text(json.dumps(whole))
    assert failed(path) == []


def test_another_key_is_refused(root, keys, tmp_path):
    _, other = pem(tmp_path, "other")
    path = write(root, keys[0])
    assert failed(path, root, other) == ["signature"]
    resigned = certificate.signed(certificate.read(path)[0], pem(tmp_path, "forger")[0])
    path.write_text(json.dumps(resigned))
    assert failed(path) == ["log"]  # nobody said whose it must be
    assert failed(path, root, keys[1]) == ["signature", "log"]


def test_without_a_signature_damage_is_still_seen_and_a_key_asks_for_one(root, keys):
    path = write(root)
    assert failed(path) == []
    assert failed(path, root, keys[1]) == ["signature"]
    (root / FOLDER / "mask.safetensors").write_bytes(b"other")
    assert failed(path) == [f"{FOLDER}/mask.safetensors"]


def test_the_log_keeps_each_request(root):
    first, second = write(root, by="A"), write(root, by="B")
    assert first == second
    assert [row["by"] for row in evidence.log(root)] == ["A", "B"]
    (entry, _) = sorted((root / certificate.LOG).iterdir())
    assert failed(entry) == []


def test_a_file_outside_the_root_is_not_looked_at(root, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("x")
    path = write(root)
    whole = json.loads(path.read_text())
    whole["certificate"]["files"] = {"../secret": stamp(b"x"), str(secret): stamp(b"x")}
    path.write_text(json.dumps(whole))
    assert failed(path) == ["log", "../secret", str(secret)]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": {}}', "[" * 100_000])
def test_what_is_no_certificate_is_refused(tmp_path, text):
    path = tmp_path / "certificate.json"
    path.write_text(text)
    with pytest.raises(BadRequest, match="not a certificate"):
        verify(path)
    with pytest.raises(BadRequest, match="no such file"):
        verify(tmp_path / "nothing.json")


@pytest.mark.parametrize("signs", [True, False])
@pytest.mark.parametrize("name", ["signature", "certificate", *certificate.PARTS])
def test_a_part_that_was_removed_is_named_and_is_no_mistake_of_who_asks(root, keys, name, signs):
    path = write(root, keys[0] if signs else None)
    whole = json.loads(path.read_text())
    del (whole if name in whole else whole["certificate"])[name]
    path.write_text(json.dumps(whole))
    (finding,) = verify(path)
    assert not finding.holds
    assert f"its {name} is missing: the certificate was changed after it was written" in finding.says
    with pytest.raises(CertificateChanged, match=f"its {name} is missing") as told:
        certificate.read(path)
    assert told.value.exit_code == 1


@pytest.mark.parametrize(("name", "value"), [("files", []), ("request", None), ("signature", "x"), ("certificate", 1)])
def test_a_part_that_became_something_else_is_told(root, keys, name, value):
    path = write(root, keys[0])
    whole = json.loads(path.read_text())
    (whole if name in whole else whole["certificate"])[name] = value
    path.write_text(json.dumps(whole))
    (finding,) = verify(path)
    assert not finding.holds
    assert "a part of it is not what is written there" in finding.says


def test_a_key_that_is_none_says_how_one_is_made(root, tmp_path):
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("no key")
    for path in (wrong, tmp_path / "missing.pem"):
        with pytest.raises(BadRequest, match="openssl genpkey -algorithm ed25519"):
            write(root, path)
    curve = tmp_path / "curve.pem"
    made = ec.generate_private_key(ec.SECP256R1())
    curve.write_bytes(
        made.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    with pytest.raises(BadRequest, match="expected Ed25519"):
        write(root, curve)


def test_no_hint_about_keys_names_a_file_that_is_there_as_its_output(tmp_path):
    """As pasted, the command must lose nothing: neither the file that was given nor another one."""
    (folder := tmp_path / "two words").mkdir()
    own, public = pem(folder, "k")
    items = folder / "items.txt"
    items.write_text("apple/1.png")
    for wrong, says in ((own, "this is a private key"), (items, "not a public key"), (folder / "gone.pub", "read")):
        with pytest.raises(BadRequest, match=says) as told:
            certificate.public_key(wrong)
        check_outputs(str(told.value))
    for wrong, says in ((public, "this is a public key"), (items, "not a private key"), (folder / "gone.key", "read")):
        with pytest.raises(BadRequest, match=says) as told:
            certificate.private_key(wrong)
        check_outputs(str(told.value))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_a_private_key_given_as_a_public_one_is_told_a_command_that_works_as_pasted(tmp_path):
    (folder := tmp_path / "two words").mkdir()
    own, public = pem(folder, "k")
    with pytest.raises(BadRequest) as told:
        certificate.public_key(own)
    (command,) = re.findall("`(openssl .*?)`", str(told.value))
    made = shlex.split(command)[-1]
    subprocess.run(command, shell=True, check=True)
    assert certificate.public_key(Path(made)) == certificate.public_key(public)


def check_outputs(text):
    for command in re.findall("`(openssl .*?)`", text):
        words = shlex.split(command)
        assert not Path(words[words.index("-out") + 1]).exists(), text


def test_a_signature_that_is_no_signature_does_not_hold(root, keys):
    path = write(root, keys[0])
    whole = json.loads(path.read_text())
    for wrong in ({}, {"public_key": "", "signature": ""}, {"public_key": 1, "signature": "%"}):
        path.write_text(json.dumps({**whole, "signature": wrong}))
        assert isinstance(verify(path)[0], Finding)
        assert failed(path) == ["signature", "log"]
