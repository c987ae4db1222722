"""Video source: every n-th frame is a ref, whatever cannot be read is one ref, and nothing is parsed here."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ImageError, SourceError
from pipeline.featureset.part import Part
from pipeline.sources.opening import open_source
from pipeline.sources.video import FRAMES, VideoSource
from pipeline.storage.folder import Folder
from tests.faults.proxied import ProxiedBucket

# What a decoder would say: ten frames, 25 a second, from the third on.
TIMES = {"pts": list(range(1024, 1024 + 10 * 512, 512)), "time_base": [1, 12_800], "num_missing": 0}


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """A folder with three files, two of which are videos by their names."""
    for name in ("a.mp4", "deep/b.MOV", "notes.txt"):
        path = tmp_path / "clips" / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(name)
    return tmp_path / "clips"


def refs(source: VideoSource) -> list[dict[str, Any]]:
    batches = list(source.refs())
    assert all(batch.schema == FRAMES == source.schema for batch in batches)
    return [ref for batch in batches for ref in batch.to_pylist()]


def looking(found: Mapping[str, Any] | None = TIMES) -> Any:
    def ask(_: Mapping[str, Any], kind: str) -> Any:
        assert kind == "video"
        if found is None:
            raise ImageError("no video", stage="decode", error_type="NotAVideo")
        return found

    return ask


def test_listing_is_repeatable_same_refs_same_order(clips: Path):
    source = VideoSource(str(clips), every=4, ask=looking())
    found = refs(source)
    assert found == refs(source)
    assert [ref["image_id"] for ref in found] == [
        f"{video}#frame={frame}" for video in ("a.mp4", "deep/b.MOV") for frame in (0, 4, 8)
    ]
    assert source.num_ignored == 1
    (file,) = [entry for entry in Folder(clips).files() if entry.name == "deep/b.MOV"]
    assert found[4] == {
        "image_id": "deep/b.MOV#frame=4",
        "uri": f"{clips}/deep/b.MOV",
        "size_bytes": file.size_bytes,
        "version": file.version,
        "part": Part(video_frame=4, pts=1024 + 4 * 512).text,
        "video": "deep/b.MOV",
        "frame": 4,
        "timestamp_s": pytest.approx(6 / 25),
    }


def test_the_decoder_is_told_the_file_and_asked_once(clips: Path):
    asked = []
    refs(VideoSource(str(clips), ask=lambda ref, _: asked.append(ref) or TIMES))
    assert [(ref["image_id"], ref["uri"]) for ref in asked] == [
        ("a.mp4", f"{clips}/a.mp4"),
        ("deep/b.MOV", f"{clips}/deep/b.MOV"),
    ]


def test_a_video_that_cannot_be_read_is_one_ref_and_so_is_what_a_cut_one_lacks(clips: Path):
    unread = {"image_id": "a.mp4", "part": "video_frame=0", "video": "a.mp4", "frame": None, "timestamp_s": None}
    (found, _) = refs(VideoSource(str(clips), ask=looking(None)))
    assert {name: found[name] for name in unread} == unread
    cut = refs(VideoSource(f"{clips}/a.mp4", every=5, ask=looking({**TIMES, "num_missing": 7})))
    assert [ref["image_id"] for ref in cut] == ["a.mp4#frame=0", "a.mp4#frame=5", "a.mp4"]
    assert {name: cut[2][name] for name in unread} == unread


def test_one_file_is_a_source_whatever_its_name(clips: Path):
    source = VideoSource(f"{clips}/notes.txt", None, every=9, ask=looking())
    assert [ref["image_id"] for ref in refs(source)] == ["notes.txt#frame=0", "notes.txt#frame=9"]
    assert source.num_ignored == 0
    assert source.description == {"kind": "video", "uri": f"{clips}/notes.txt", "suffixes": None, "every": 9}


def test_suffixes_are_taken_in_any_case_and_none_of_them_takes_nothing(clips: Path):
    source = VideoSource(str(clips), (".Mp4", ".MOV"), every=9, ask=looking())
    assert [ref["video"] for ref in refs(source)] == ["a.mp4"] * 2 + ["deep/b.MOV"] * 2
    assert source.description["suffixes"] == [".mp4", ".mov"]
    nothing = VideoSource(str(clips), (), ask=looking())
    assert refs(nothing) == []
    assert nothing.num_ignored == 3


def test_videos_in_a_bucket_are_listed_with_their_versions(store: ProxiedBucket):
    store.put("clips/a.mp4", b"aa")
    store.put("clips/b.webm", b"b")
    uri = f"s3://{store.bucket}/clips"
    found = refs(VideoSource(uri, every=10, ask=looking()))
    assert [(ref["image_id"], ref["uri"]) for ref in found] == [
        ("a.mp4#frame=0", f"{uri}/a.mp4"),
        ("b.webm#frame=0", f"{uri}/b.webm"),
    ]
    assert refs(VideoSource(f"{uri}/a.mp4", every=10, ask=looking())) == found[:1]


def test_what_the_source_is_tells_it_from_others(clips: Path):
    suffixes = [".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi"]
    source = open_source("video", uri=str(clips))
    assert source.description == {"kind": "video", "uri": str(clips), "suffixes": suffixes, "every": 30}
    with pytest.raises(SourceError, match=r"jobs/embed.py alone"):
        list(source.refs())


@pytest.mark.parametrize("name", ["nowhere", "nowhere.mp4", "a.mp4/b.mp4"])
def test_a_place_that_is_not_there_is_told(clips: Path, name: str):
    with pytest.raises(SourceError, match=f"there is no file or folder {clips}/{name}"):
        VideoSource(f"{clips}/{name}")
