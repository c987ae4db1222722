"""From the configuration's words to a source."""

import pytest

from pipeline.errors import SourceError
from pipeline.sources.opening import open_source


def test_each_kind_opens_its_source(tmp_path):
    (tmp_path / "a.jpg").touch()
    (tmp_path / "b.txt").touch()
    assert [ref.image_id for ref in open_source("directory", str(tmp_path)).refs()] == ["a.jpg"]
    assert [ref.image_id for ref in open_source("directory", str(tmp_path), None).refs()] == ["a.jpg", "b.txt"]
    assert "coffee.png" in [ref.image_id for ref in open_source("sample", None).refs()]


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(SourceError, match=f"there is no folder {tmp_path}/nowhere"):
        open_source("directory", f"{tmp_path}/nowhere")
