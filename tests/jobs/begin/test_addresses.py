"""A folder of images on an object store is looked at as one on a disk is."""

from jobs.begin.begun import begin
from store.places import place
from tests.tiny import TRAIN, picture


def test_class_folders_on_an_object_store_are_found(bucket, tmp_path):
    picture(0, 0, 32).save(tmp_path / "one.png")
    content = (tmp_path / "one.png").read_bytes()
    for name, count in TRAIN.items():
        for number in range(count):
            (place(bucket) / "my photos" / name / f"{number}.png").write_bytes(content)
    begun = begin(f"{bucket}/my photos")
    assert begun.name == "my-photos"
    assert begun.counted.sizes == {"train": 33, "test": 8, "classes": 3}
    assert begun.table["images"]["test_share"] == 0.2
    assert begun.sampled.looked_at > 0
