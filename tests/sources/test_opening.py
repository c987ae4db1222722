"""From the configuration's words to a source."""

import pytest

from pipeline.errors import SourceError
from pipeline.sources.opening import open_source


def ids(kind: str, **options) -> list[str]:
    return [image_id for batch in open_source(kind, **options).refs() for image_id in batch["image_id"].to_pylist()]


def test_each_kind_opens_its_source(tmp_path):
    (tmp_path / "a.jpg").touch()
    (tmp_path / "b.txt").touch()
    assert ids("directory", uri=str(tmp_path)) == ["a.jpg"]
    assert ids("directory", uri=str(tmp_path), suffixes=None) == ["a.jpg", "b.txt"]
    (tmp_path / "a.csv").write_text("uri\nb.jpg\n")
    assert ids("manifest", uri=f"{tmp_path}/a.csv", max_images=1) == ["b.jpg"]
    assert "coffee.png" in ids("sample", uri=None)


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(SourceError, match=f"there is no folder {tmp_path}/nowhere"):
        open_source("directory", uri=f"{tmp_path}/nowhere")
