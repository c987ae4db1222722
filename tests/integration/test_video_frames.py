"""Probing: a decoder process says what is in a file, bad files are none, and a store in trouble is never a bad file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import ImageError, StoreUnavailableError
from pipeline.execution.blocks import DecodedUnit
from pipeline.execution.fetch import DecodeLimits, FetchAndDecode
from pipeline.execution.plan import cut_units
from pipeline.execution.probing import Prober
from pipeline.preprocessing.served_file import ServedFile
from pipeline.preprocessing.transform import normalise
from pipeline.preprocessing.video import frame_times
from pipeline.preprocessing.video_frames import FrameReader
from pipeline.preprocessing.video_pixels import rgb_of_frame
from pipeline.sources.video import VideoSource
from tests.faults.faults import Answer
from tests.faults.proxied import ProxiedBucket
from tests.videos import make_video


@pytest.fixture(scope="module")
def prober() -> Prober:
    return Prober(limits=DecodeLimits(), patience_s=0.5)


def fetch(source: VideoSource, sink: Path) -> DecodedUnit:
    (plan,) = cut_units(source.refs(), 100)
    return DecodedUnit.from_block(FetchAndDecode(side_px=64, sink_uri=str(sink), run=1, patience_s=1.0)(plan))


def expected(data: bytes, frame: int) -> np.ndarray:
    served = ServedFile("key", len(data), lambda start, end: data[start:end])
    reader = FrameReader(served)
    return normalise(rgb_of_frame(reader.frame(frame_times(data)["pts"][frame])), 64).numpy()


def test_planned_frames_are_decoded_and_bad_videos_are_a_row_each(prober: Prober, tmp_path: Path):
    clips = {"a.mp4": make_video(), "b.webm": make_video("vp9"), "c.mov": b"no video", "d.avi": b""}
    (tmp_path / "clips").mkdir()
    for name, data in clips.items():
        (tmp_path / "clips" / name).write_bytes(data)
    source = VideoSource(str(tmp_path / "clips"), every=12, ask=prober.ask)
    unit = fetch(source, tmp_path / "set")
    good = [(name, frame) for name in ("a.mp4", "b.webm") for frame in (0, 12, 24)]
    assert [image.image_id for image in unit.images] == [f"{name}#frame={frame}" for name, frame in good]
    assert {(image.height, image.width) for image in unit.images} == {(48, 64)}
    for place, (name, frame) in enumerate(good):
        np.testing.assert_array_equal(unit.pixels_NCHW[place], expected(clips[name], frame))
    assert [(row.image_id, row.error_type) for row in unit.quarantine] == [
        ("c.mov", "NotAVideo"),
        ("d.avi", "EmptyFile"),
    ]


def test_a_video_that_changes_or_goes_after_planning_is_a_row_a_frame(prober: Prober, tmp_path: Path):
    (tmp_path / "clips").mkdir()
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / "clips" / name).write_bytes(make_video())
    source = VideoSource(str(tmp_path / "clips"), every=15, ask=prober.ask)
    (plan,) = cut_units(source.refs(), 100)
    (tmp_path / "clips" / "a.mp4").write_bytes(make_video("mpeg-2"))
    (tmp_path / "clips" / "b.mp4").unlink()
    unit = DecodedUnit.from_block(FetchAndDecode(side_px=64, sink_uri=str(tmp_path / "set"), run=1)(plan))
    assert [(row.image_id, row.error_type) for row in unit.quarantine] == [
        *((f"a.mp4#frame={frame}", "ImageChanged") for frame in (0, 15)),
        *((f"b.mp4#frame={frame}", "FileNotFoundError") for frame in (0, 15)),
    ]
    (tmp_path / "clips" / "a.mp4").unlink()  # so that the folder is as one that is not mounted
    with pytest.raises(StoreUnavailableError, match="not there, or empty"):
        FetchAndDecode(side_px=64, sink_uri=str(tmp_path / "set"), run=1)(plan)


def test_a_store_that_has_no_such_video_is_told_from_one_in_trouble(prober: Prober, store: ProxiedBucket):
    store.put("a.mp4", make_video())
    refs = [ref for batch in VideoSource(f"s3://{store.bucket}", ask=prober.ask).refs() for ref in batch.to_pylist()]
    assert [ref["image_id"] for ref in refs] == ["a.mp4#frame=0"]
    gone: dict[str, Any] = {**refs[0], "image_id": "b.mp4", "uri": f"s3://{store.bucket}/b.mp4"}
    with pytest.raises(ImageError):
        prober.ask(gone, "video")
    store.proxy.install(Answer(503, operation="GetObject"))
    with pytest.raises(StoreUnavailableError):
        prober.ask(refs[0], "video")
