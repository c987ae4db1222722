"""Bytes of images: each image's own, read where a decoder wants them, and the fault is told from the store's."""

from pathlib import Path

import pytest

from pipeline.errors import ImageError, StoreUnavailableError
from pipeline.execution.image_bytes import ImageBytes, Ranges, require_place
from pipeline.execution.listed import Listed
from pipeline.observability.timing import Stopwatch
from tests.faults.faults import Answer
from tests.faults.proxied import ProxiedBucket


def ranges(image: Listed) -> Ranges:
    return Ranges(image, ImageBytes(patience_s=0.1), Stopwatch())


def test_a_decoder_reads_within_the_image(tmp_path: Path):
    (tmp_path / "x").write_bytes(b"0123456789")
    whole = ranges(Listed("x", str(tmp_path / "x"), 10, "", "box=0,0,1,1"))
    assert (whole.size_bytes, whole.read(2, 5)) == (10, b"234")
    member = ranges(Listed("x", str(tmp_path / "x"), 10, "", "bytes=3-9&box=0,0,1,1"))
    assert (member.size_bytes, member.read(2, 5)) == (6, b"567")
    assert whole.key != member.key
    assert (whole.fetched_bytes, member.fetched_bytes) == (3, 3)


def test_a_file_that_is_gone_is_at_fault_and_the_decoder_is_asked_no_more(tmp_path: Path):
    (tmp_path / "other").touch()
    reader = ranges(Listed("x", str(tmp_path / "x"), 10, "", "box=0,0,1,1"))
    with pytest.raises(ImageError, match="No such file") as caught:
        reader.read(0, 5)
    assert (caught.value.stage, caught.value.error_class) == ("fetch", "permanent")
    assert reader.failure is caught.value


def test_of_a_unit_of_which_no_image_came_the_place_is_looked_at(tmp_path: Path):
    gone = ImageError("No such file", stage="fetch", error_type="FileNotFoundError")
    (tmp_path / "other").touch()
    require_place([Listed("x", str(tmp_path / "x"), 10, "")], [gone])
    for uri in (f"{tmp_path}/nowhere/x", f"file://{tmp_path}/nowhere/x"):
        with pytest.raises(StoreUnavailableError, match="mount the source on every node"):
            require_place([Listed("x", uri, 10, "")], [gone])


def fetched(listed: list[Listed], **options) -> list[bytes | ImageError]:
    return ImageBytes(**{"patience_s": 0.1, **options}).of_unit(listed, Stopwatch())


def test_an_image_of_another_store_is_no_witness(store: ProxiedBucket, tmp_path: Path):
    """Else a store that is away would cost image after image of a list that names two."""
    (tmp_path / "a").write_bytes(b"a")
    for key in ("x", "y"):
        store.put(key, b"0123456789")
    near, far = Listed("a", str(tmp_path / "a"), 1, ""), Listed("x", f"s3://{store.bucket}/x", 10, "")
    store.proxy.install(Answer(503, key="x"))
    with pytest.raises(StoreUnavailableError):
        fetched([near, far])
    first, second, third = fetched([near, far, Listed("y", f"s3://{store.bucket}/y", 10, "")])
    assert (first, third) == (b"a", b"0123456789")
    assert isinstance(second, ImageError)
    assert second.error_type == "StoreUnavailable"


@pytest.mark.parametrize("part", ["bytes=5-5", "box=0,0,1,1"])
def test_an_image_that_was_not_read_is_no_witness_either(store: ProxiedBucket, part: str):
    store.put("x", b"0123456789")
    store.put("y", b"0123456789")
    store.proxy.install(Answer(503, key="x"))
    unread = Listed("y", f"s3://{store.bucket}/y", 10, "", part)
    with pytest.raises(StoreUnavailableError):
        fetched([unread, Listed("x", f"s3://{store.bucket}/x", 10, "")])


def test_pages_of_a_file_share_its_bytes(tmp_path: Path):
    (tmp_path / "x").write_bytes(b"0123456789")
    pages = [Listed(f"{page}", str(tmp_path / "x"), 10, "", f"page={page}") for page in range(3)]
    first, *others = fetched(pages)
    assert first == b"0123456789"
    assert all(each is first for each in others)


def test_a_file_that_is_too_large_to_be_read_whole_is_not_begun(tmp_path: Path):
    (tmp_path / "x").write_bytes(bytes(100))
    image, reader = Listed("x", str(tmp_path / "x"), 100, ""), ImageBytes(0.1, max_bytes=50)
    with pytest.raises(ImageError, match=r"raise execution\.decode_max_mib") as caught:
        reader.to_probe(image, is_read_whole=True)
    assert caught.value.error_type == "FileTooLarge"
    assert isinstance(reader.to_probe(image, is_read_whole=False), Ranges)


def test_a_store_in_trouble_is_not_the_images_fault_however_its_bytes_are_read(store: ProxiedBucket):
    store.put("x", b"0123456789")
    store.proxy.install(Answer(503, key="x"))
    with pytest.raises(StoreUnavailableError):
        ranges(Listed("x", f"s3://{store.bucket}/x", 10, "", "video_frame=3")).read(0, 5)
