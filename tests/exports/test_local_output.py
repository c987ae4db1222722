"""Outputs appear whole or not at all."""

from pathlib import Path

import pytest

from pipeline.errors import AccessDeniedError, ConfigError, SinkError
from pipeline.exports.local_output import local_path, replacing
from tests.privileges import without_privileges


def test_a_file_appears_whole_under_its_name(tmp_path: Path):
    with replacing(tmp_path / "new/file.txt") as staged:
        staged.write_text("half")
        assert not (tmp_path / "new/file.txt").exists()
    assert (tmp_path / "new/file.txt").read_text() == "half"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file.txt"]


def test_what_was_there_is_replaced_and_stays_when_the_block_fails(tmp_path: Path):
    for number in range(2):
        with replacing(tmp_path / "folder") as staged:
            staged.mkdir()
            (staged / str(number)).touch()

    def fail() -> None:
        with replacing(tmp_path / "folder") as staged:
            staged.mkdir()
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["1"]
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_places_that_cannot_be_written_are_named(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(SinkError, match=r"cannot write .*file/below"), replacing(tmp_path / "file/below"):
        pass
    (tmp_path / "locked").mkdir(mode=0o755)
    tmp_path.chmod(0o755)
    denied = pytest.raises(AccessDeniedError, match="no permission to write")
    with without_privileges(), denied, replacing(tmp_path / "locked/file"):
        pass


def test_a_path_is_local_or_refused():
    assert local_path("file:///a/b", "output") == Path("/a/b")
    assert local_path("a", "output") == Path.cwd() / "a"
    with pytest.raises(ConfigError, match="output=gs://b/c is not on local disk"):
        local_path("gs://b/c", "output")
