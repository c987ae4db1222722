"""Tar shards as a source: members are the images, in order, wherever the shards are; bad shards cost nothing else."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import ConfigError, SourceError
from pipeline.execution.comparison import Comparison
from pipeline.featureset.part import Part
from pipeline.sources.directory import IMAGE_SUFFIXES
from pipeline.sources.opening import UNIQUE_IDS
from pipeline.sources.tar import TarSource
from pipeline.storage.folder import Folder
from pipeline.storage.reading import read_uri
from tests.tars import END, header, member, write_tar

SHARDS = {
    "train/00000.tar": {"0.jpg": b"zero", "0.json": b"{}", "0.txt": b"a cat", "1.JPG": b"one"},
    "train/00001.tar": {"2.png": b"two", "__MACOSX/._2.png": b"mac", ".hidden/3.jpg": b"x", "./4.jpg": b"four"},
    "val/00000.tar": {"5.cls": b"7"},
}
IMAGES = {"0.jpg": b"zero", "1.JPG": b"one", "2.png": b"two", "./4.jpg": b"four"}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAM2_EMBED_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    for name, members in SHARDS.items():
        write_tar(tmp_path / "shards" / name, members)
    (tmp_path / "shards/README.md").touch()
    return tmp_path / "shards"


def rows(source: TarSource) -> list[dict]:
    return [row for batch in source.refs() for row in batch.to_pylist()]


def contents(source: TarSource) -> Iterator[tuple[str, bytes]]:
    """Every image's bytes, as a fetch reads them."""
    for row in rows(source):
        start, end = Part.of(row["part"]).bytes_at
        assert row["size_bytes"] == end - start
        yield row["image_id"], read_uri(row["uri"], row["version"], start=start, end=end)


@pytest.fixture(params=["disk", "bucket"])
def place(request: pytest.FixtureRequest, shards: Path) -> str:
    """The shards on disk or in a bucket."""
    if request.param == "disk":
        return str(shards)
    store = request.getfixturevalue("store")
    for path in shards.rglob("*.*"):
        key = f"shards/{path.relative_to(shards)}"
        store.direct.put_object(Bucket=store.bucket, Key=key, Body=path.read_bytes())
    return f"s3://{store.bucket}/shards"


def test_images_are_the_members_with_names_of_images_in_order(place: str):
    source = TarSource(place)
    assert dict(contents(source)) == IMAGES
    assert [row["image_id"] for row in rows(source)] == list(IMAGES)
    assert source.num_ignored == 6, "five members and a file"
    assert {row["uri"] for row in rows(source)} == {f"{place}/train/00000.tar", f"{place}/train/00001.tar"}


def test_one_shard_is_a_source_too(place: str):
    assert dict(contents(TarSource(f"{place}/train/00000.tar"))) == {"0.jpg": b"zero", "1.JPG": b"one"}


def test_a_listing_is_repeatable_and_planned_again_from_the_cache(shards: Path):
    source = TarSource(str(shards))
    first = list(source.refs())
    assert list(source.refs()) == list(TarSource(str(shards)).refs()) == first
    assert all(batch.schema.equals(source.schema) for batch in first)


def test_suffixes_choose_members(shards: Path):
    assert [row["image_id"] for row in rows(TarSource(str(shards), (".JSON",)))] == ["0.json"]
    every = [row["image_id"] for row in rows(TarSource(str(shards), None))]
    assert every == ["0.jpg", "0.json", "0.txt", "1.JPG", "2.png", "./4.jpg", "5.cls"]


def test_shards_may_be_named_in_ids(shards: Path):
    source = TarSource(str(shards), shard_ids=True)
    assert [row["image_id"] for row in rows(source)][:2] == ["train/00000.tar/0.jpg", "train/00000.tar/1.JPG"]
    assert source.description == {
        "kind": "tar",
        "uri": str(shards),
        "suffixes": list(IMAGE_SUFFIXES),
        "shard_ids": True,
    }


def planned(source: TarSource, tmp_path: Path) -> list[str]:
    advice = UNIQUE_IDS["tar"]
    with Comparison.of(Folder(tmp_path / "set"), source.refs(), source.schema, advice=advice) as compared:
        return [each for batch in compared.to_embed() for each in batch["image_id"].to_pylist()]


def test_one_path_in_two_shards_is_an_error_that_names_both_and_the_way_out(shards: Path, tmp_path: Path):
    write_tar(shards / "val/00000.tar", {"0.jpg": b"another zero"})
    with pytest.raises(ConfigError) as caught:
        planned(TarSource(str(shards)), tmp_path)
    for said in ("'0.jpg'", f"{shards}/train/00000.tar and {shards}/val/00000.tar", "source.shard_ids=true"):
        assert said in str(caught.value)
    assert len(planned(TarSource(str(shards), shard_ids=True), tmp_path)) == 5


def test_of_two_members_of_one_path_the_first_counts(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    data = [member(name, content) for name, content in [("a.jpg", b"1"), ("b.jpg", b"2"), ("a.jpg", b"3")]]
    (tmp_path / "a.tar").write_bytes(b"".join([*data, member("a.jpg", b"4"), member("a.json"), member("a.json"), END]))
    source = TarSource(str(tmp_path / "a.tar"))
    with caplog.at_level(logging.WARNING, "pipeline"):
        assert list(contents(source)) == [("a.jpg", b"1"), ("b.jpg", b"2")]
    assert source.num_ignored == 4
    assert caplog.messages == ["passed over 2 members whose path another before them has, such as 'a.jpg' in a.tar"]


def test_hostile_members_are_passed_over_once_a_kind_in_the_log_and_nothing_is_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    bad = [member("../../x.jpg"), member("/x.jpg"), header("l.jpg", 0, b"2"), header("p.jpg", 0, b"6")]
    for name in ("a", "b"):
        data = b"".join([*bad, header("s.jpg", 0, b"S"), header("h.jpg", 0, b"1"), member(f"{name}.jpg"), END])
        (tmp_path / f"shards/{name}.tar").parent.mkdir(exist_ok=True)
        (tmp_path / f"shards/{name}.tar").write_bytes(data)
    source = TarSource(str(tmp_path / "shards"))
    with caplog.at_level(logging.WARNING, "pipeline"):
        assert list(dict(contents(source))) == ["a.jpg", "b.jpg"]
    assert source.num_ignored == 12
    assert sorted(caplog.messages) == [
        "passed over 2 devices and pipes, such as 'p.jpg' in a.tar",
        "passed over 2 sparse files, such as 's.jpg' in a.tar",
        "passed over 4 links, such as 'l.jpg' in a.tar",
        "passed over 4 paths that lead out of the archive, such as '../../x.jpg' in a.tar",
    ]
    written = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert [name for name in written if not name.startswith("cache/tar/")] == ["shards/a.tar", "shards/b.tar"]


def test_what_a_damaged_shard_holds_beyond_its_damage_is_one_ref(shards: Path):
    path = shards / "train/00000.tar"
    path.write_bytes(path.read_bytes()[:600])
    (shards / "val/00000.tar").write_bytes(b"")
    found = {row["image_id"]: Part.of(row["part"]).damage for row in rows(TarSource(str(shards)))}
    assert list(found) == ["0.jpg", "train/00000.tar", "2.png", "./4.jpg", "val/00000.tar"]
    assert found["2.png"] is None
    assert "it ends at byte 600" in found["train/00000.tar"]
    assert "it ends at byte 0" in found["val/00000.tar"]


@pytest.mark.parametrize("name", ["x.tar.gz", "x.TGZ", "x.tar.zst"])
def test_compressed_tars_are_refused_with_the_reason(shards: Path, name: str):
    (shards / name).touch()
    with pytest.raises(SourceError, match=r"is compressed, so its members have no byte ranges"):
        rows(TarSource(str(shards)))
    with pytest.raises(SourceError, match="decompress it"):
        TarSource(str(shards / name))


def test_a_folder_without_shards_is_a_source_error(tmp_path: Path):
    with pytest.raises(SourceError, match=rf"there are no \.tar files in {tmp_path}"):
        TarSource(str(tmp_path))
