"""Places that tests of several modules write to."""

import pytest

from store import places


@pytest.fixture(params=["disk", "s3"])
def folder(request, tmp_path):
    if request.param == "disk":
        return tmp_path
    return places.place(request.getfixturevalue("bucket") + "/some/folder")
