"""Bytes of images: each image's own, read where a decoder wants them, and the fault is told from the store's."""

from pathlib import Path

import pytest

from pipeline.errors import ImageError, StoreUnavailableError
from pipeline.execution.image_bytes import ImageBytes, Listed, Ranges
from pipeline.observability.timing import Stopwatch
from tests.faults.faults import Answer
from tests.faults.proxied import ProxiedBucket

ROW = {"image_id": ["a", "b"], "uri": ["/x/a", "s3://b/k"], "size_bytes": [10, 20], "version": ["1", ""]}


def test_a_unit_of_the_plan_has_parts_where_its_source_had():
    assert Listed.of_unit(ROW) == [Listed("a", "/x/a", 10, "1"), Listed("b", "s3://b/k", 20, "")]
    first, second = Listed.of_unit({**ROW, "part": ["bytes=3-7", "box=0,0,5,5"]})
    assert (first.span, first.is_windowed, first.is_local) == ((3, 7), False, True)
    assert (second.span, second.is_windowed, second.is_local) == ((0, None), True, False)
    assert Listed("c", "HTTPS://host/x", 0, "").is_on_the_web


def ranges(image: Listed) -> Ranges:
    return Ranges(image, ImageBytes(patience_s=0.1), Stopwatch())


def test_a_decoder_reads_within_the_image(tmp_path: Path):
    (tmp_path / "x").write_bytes(b"0123456789")
    whole = ranges(Listed("x", str(tmp_path / "x"), 10, "", "box=0,0,1,1"))
    assert (whole.size_bytes, whole.read(2, 5)) == (10, b"234")
    member = ranges(Listed("x", str(tmp_path / "x"), 10, "", "bytes=3-9&box=0,0,1,1"))
    assert (member.size_bytes, member.read(2, 5)) == (6, b"567")
    assert whole.key != member.key


def test_a_file_that_is_gone_is_at_fault_unless_its_whole_folder_is(tmp_path: Path):
    (tmp_path / "other").touch()
    with pytest.raises(ImageError, match="No such file") as caught:
        ranges(Listed("x", str(tmp_path / "x"), 10, "", "box=0,0,1,1")).read(0, 5)
    assert (caught.value.stage, caught.value.error_class) == ("fetch", "permanent")
    with pytest.raises(StoreUnavailableError, match="mount the source on every node"):
        ranges(Listed("x", str(tmp_path / "nowhere" / "x"), 10, "", "box=0,0,1,1")).read(0, 5)


def test_a_store_in_trouble_is_not_the_images_fault_however_its_bytes_are_read(store: ProxiedBucket):
    store.put("x", b"0123456789")
    store.proxy.install(Answer(503, key="x"))
    with pytest.raises(StoreUnavailableError):
        ranges(Listed("x", f"s3://{store.bucket}/x", 10, "", "video_frame=3")).read(0, 5)
