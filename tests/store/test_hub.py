"""Images at hf:// addresses, by the real client over HTTP; the far end is tests/hub.py."""

import io
import json
import pickle
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from store.errors import ImagesMissing, ImageSourceError, PlaceUnreachable
from store.images import open_images
from tests.hub import TOKEN, local_hub

NAME = "my-lab/pets"


def png(size):
    data = io.BytesIO()
    Image.effect_noise((size, size), 50).save(data, "PNG")
    return data.getvalue()


def tar(items):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for k in range(items):
            for ending, content in (("png", png(k + 8)), ("cls", b"%d" % (k % 2))):
                member = tarfile.TarInfo(f"{k:03d}.{ending}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return data.getvalue()


def parquet(items):
    rows = [{"bytes": png(k + 8), "path": f"{k}.png"} for k in range(items)]
    data = io.BytesIO()
    pq.write_table(pa.table({"image": rows, "label": [k % 2 for k in range(items)]}), data)
    return data.getvalue()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    from huggingface_hub import HfFileSystem, constants, file_download, utils

    getattr(utils, "reset_sessions", lambda: None)()  # older clients keep one, which can be offline
    with local_hub() as made:
        monkeypatch.setattr(constants, "ENDPOINT", made.address)
        template = made.address + "/{repo_id}/resolve/{revision}/{filename}"
        for module in (constants, file_download):  # older clients copy it
            monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        HfFileSystem.clear_instance_cache()
        files = {"tars/train-0.tar": tar(7), "tars/names.txt": b"cat\ndog\n", "rows/train-0.parquet": parquet(5)}
        files |= {f"photos/train/{name}/{k}.png": png(k + 40) for name in ("cat", "dog") for k in range(6)}
        files["README.md"] = b"pets"
        made.add_dataset(NAME, files)
        yield made
        HfFileSystem.clear_instance_cache()


def test_each_kind_of_images_is_read_at_a_commit_wherever_main_is_now(hub):
    repository = hub.repositories[f"datasets/{NAME}"]
    repository.commits.append({"README.md": b"empty"})
    repository.messages.append("emptied")
    base = f"hf://datasets/{NAME}@{repository.name(0)}"
    for kind, place, pattern, classes, sizes in (
        ("webdataset", "/tars", "train-*.tar", "names.txt", [8, 9, 10, 11, 12, 13, 14]),
        ("parquet", "", "rows/*.parquet", None, [8, 9, 10, 11, 12]),
        ("folder", "/photos", "train", None, [40, 41, 42, 43, 44, 45] * 2),
    ):
        images = open_images(kind, base + place, pattern=pattern, class_file=classes)
        manifest = images.scan(on_error="fail")
        assert manifest.classes == (("0", "1") if kind == "parquet" else ("cat", "dog"))
        elsewhere = pickle.loads(pickle.dumps(images))
        met = [
            item.image.width for shard in manifest.shards for item in elsewhere.read(shard) if item.image is not None
        ]
        assert met == sizes
    with pytest.raises(ImagesMissing, match=r"found no file train-\*.tar; .* holds README.md"):
        open_images("webdataset", f"hf://datasets/{NAME}", pattern="train-*.tar").listing()


def test_what_a_hub_has_not_is_named(hub):
    for address, error, words in (
        ("hf://datasets/my-lab/cats", ImagesMissing, "repository not found"),
        (f"hf://datasets/{NAME}@gone", ImagesMissing, "revision not found"),
        ("hf://datasets/pets", ImageSourceError, "write it as hf://datasets/owner/name@revision/folder"),
    ):
        with pytest.raises(error, match=words):
            open_images("parquet", address, pattern="*.parquet").listing()


def test_what_a_hub_refuses_is_not_taken_for_a_damaged_shard(hub, monkeypatch):
    from huggingface_hub import HfFileSystem

    hub.repositories[f"datasets/{NAME}"].gated = True
    images = open_images("parquet", f"hf://datasets/{NAME}/rows", pattern="*.parquet")
    with pytest.raises(PlaceUnreachable, match=f"it is gated: log in at {hub.address}/datasets/{NAME} and accept"):
        images.scan(on_error="skip")
    HfFileSystem.clear_instance_cache()
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    images = open_images("parquet", f"hf://datasets/{NAME}/rows", pattern="*.parquet")
    assert images.scan(on_error="fail").items == 5


def test_a_hub_that_does_not_answer_is_named(hub, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(PlaceUnreachable, match="HF_ENDPOINT names another hub"):
        open_images("parquet", f"hf://datasets/{NAME}", pattern="*.parquet").listing()


def test_a_folder_on_a_hub_is_looked_at_like_any_other(hub, dkvb):
    ended = dkvb("init", "--images", f"hf://datasets/{NAME}/photos", "--json")
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    assert found["classes"] == ["cat", "dog"]
    assert sum(found["sizes"][split] for split in ("train", "test")) == 12
