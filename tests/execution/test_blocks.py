"""Blocks: one row to a unit, everything comes back, and pixels are not copied."""

import numpy as np
import pyarrow as pa
import pytest

from pipeline.execution.blocks import DecodedImage, DecodedUnit, Receipt
from pipeline.featureset.records import CommitRecord, TableFile
from pipeline.observability.events import UnitEvent
from tests.small_set import quarantine_row

IMAGES = [DecodedImage("cats/1.jpg", "/data/cats/1.jpg", 480, 640), DecodedImage("é😀\n", "/data/x", 1, 2)]


def unit(num_images: int = 2, side_px: int = 16) -> DecodedUnit:
    pixels = np.random.default_rng(0).standard_normal((num_images, 3, side_px, side_px), dtype=np.float32)
    return DecodedUnit(
        7,
        IMAGES[:num_images],
        pixels,
        [quarantine_row("bad.jpg")],
        {"fetch": 0.5, "decode": 1.25},
        fetched_bytes=98,
        retries={"storage": 1},
    )


@pytest.mark.parametrize("num_images", [0, 1, 2])
def test_a_unit_comes_back_from_its_block(num_images: int):
    sent = unit(num_images)
    arrived = DecodedUnit.from_block(sent.to_block())
    np.testing.assert_array_equal(arrived.pixels_NCHW, sent.pixels_NCHW)
    assert arrived.pixels_NCHW.shape == sent.pixels_NCHW.shape == (num_images, 3, 16, 16)
    assert arrived.pixels_NCHW.dtype == np.float32
    assert (arrived.unit, arrived.images) == (7, IMAGES[:num_images])
    assert arrived.quarantine == sent.quarantine
    assert arrived.seconds == {"fetch": 0.5, "decode": 1.25}
    assert (arrived.fetched_bytes, arrived.retries) == (98, {"storage": 1})
    assert not arrived.is_committed


def test_a_unit_that_somebody_else_has_committed_says_so():
    sent = DecodedUnit(7, [], unit(0).pixels_NCHW, [], is_committed=True)
    assert DecodedUnit.from_block(sent.to_block()).is_committed


def test_a_unit_is_one_row_so_that_ray_cannot_split_it():
    block = unit().to_block()
    assert block.num_rows == 1
    assert {str(field.type) for field in block.schema} == {"string", "large_binary"}


def test_pixels_are_copied_neither_on_the_way_in_nor_out():
    sent = unit()
    arrived = DecodedUnit.from_block(sent.to_block())
    assert np.shares_memory(arrived.pixels_NCHW, sent.pixels_NCHW)


def test_pixels_that_lie_otherwise_in_memory_arrive_in_order():
    sent = unit()
    turned = np.ascontiguousarray(sent.pixels_NCHW.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    arrived = DecodedUnit.from_block(DecodedUnit(7, IMAGES, turned, []).to_block())
    np.testing.assert_array_equal(arrived.pixels_NCHW, sent.pixels_NCHW)


def test_a_block_survives_the_wire_and_a_slice():
    """Ray sends blocks as Arrow streams, and cuts them out of larger tables."""
    both = pa.concat_tables([unit(1).to_block(), unit(2).to_block()])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, both.schema) as stream:
        stream.write_table(both)
    arrived = pa.ipc.open_stream(sink.getvalue()).read_all()
    for row, num_images in ((0, 1), (1, 2)):
        found = DecodedUnit.from_block(arrived.slice(row, 1))
        np.testing.assert_array_equal(found.pixels_NCHW, unit(num_images).pixels_NCHW)


def test_a_receipt_comes_back_from_its_row_and_is_small():
    receipt = Receipt(
        unit=3,
        is_committed=True,
        num_embedded=60,
        num_quarantined=4,
        size_bytes=10**9,
        failures={"decode": {"TruncatedImage": 3, "NotAnImage": 1}},
        example="é😀.jpg: it ends early",
        seconds={"encode": 12.5},
    )
    block = receipt.to_block()
    assert block.num_rows == 1
    assert Receipt.from_row(block["receipt"][0].as_py()) == receipt
    assert block.nbytes < 1000


def test_a_receipt_tells_what_a_commit_holds_and_why_images_failed():
    rows = [quarantine_row("a.jpg"), quarantine_row("b.jpg").model_copy(update={"error_type": "NotAnImage"})]
    rows.append(quarantine_row("d.jpg").model_copy(update={"stage": "fetch"}))
    commit = CommitRecord(
        run=1,
        unit=3,
        token="t",  # noqa: S106  no secret
        fingerprint="f",
        shard=TableFile(name="s", num_rows=5, size_bytes=1234, sha256="0"),
        quarantine=(*rows, quarantine_row("c.jpg")),
    )
    receipt = Receipt.of(commit, {"write": 1.5})
    assert (receipt.unit, receipt.is_committed, receipt.num_embedded, receipt.num_quarantined) == (3, True, 5, 4)
    assert receipt.failures == {"decode": {"TruncatedImage": 2, "NotAnImage": 1}, "fetch": {"TruncatedImage": 1}}
    assert receipt.reasons == {"TruncatedImage": 3, "NotAnImage": 1}
    assert receipt.num_images == 9
    assert receipt.example == "a.jpg: a.jpg ends too early"
    assert (receipt.size_bytes, receipt.seconds) == (1234, {"write": 1.5})


def test_a_receipt_of_a_unit_without_a_shard_or_without_failures():
    commit = CommitRecord(run=1, unit=0, token="t", fingerprint="f", shard=None, quarantine=())  # noqa: S106
    receipt = Receipt.of(commit, {})
    assert (receipt.num_embedded, receipt.size_bytes, receipt.failures, receipt.example) == (0, 0, {}, "")


def test_a_receipt_is_an_event_of_the_log():
    receipt = Receipt(
        3,
        is_committed=True,
        num_embedded=2,
        num_quarantined=3,
        failures={"fetch": {"TruncatedImage": 1}, "decode": {"TruncatedImage": 2}},
        seconds={"encode": 1 / 3},
    )
    event = UnitEvent(feature_set="/features", run=1, command="c", **receipt.event)
    assert (event.unit, event.images, event.embedded, event.quarantined) == (3, 5, 2, {"TruncatedImage": 3})
    assert event.seconds == {"encode": 0.3333}
