"""Expanded sources: refs of tiles and frames by the header of each file; what cannot be told stays one ref."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import pipeline
from pipeline.errors import StoreUnavailableError
from pipeline.execution.blocks import DecodedUnit
from pipeline.execution.expanding import ExpandedSource, Frames, Tiles
from pipeline.execution.fetch import DecodeLimits, FetchAndDecode
from pipeline.execution.plan import cut_units
from pipeline.execution.probing import Prober
from pipeline.featureset.part import Part
from pipeline.featureset.schema import PART, TILES
from pipeline.preprocessing.decode import decode
from pipeline.preprocessing.tiles import tile_boxes
from pipeline.sources.directory import DirectorySource
from pipeline.sources.image_ref import REFS, refs_batch
from pipeline.storage.roots import Roots
from tests.faults.faults import Answer
from tests.faults.proxied import ProxiedBucket

TILED = Tiles(tile_px=256, overlap_px=32, side_px=64)


class Listed:
    """A source of one batch."""

    description, num_ignored = {"kind": "listed"}, 3

    def __init__(self, batch: pa.RecordBatch) -> None:
        self._batch, self.schema = batch, batch.schema

    def refs(self) -> Iterator[pa.RecordBatch]:
        yield self._batch


def expanded(source, parting: Tiles | Frames, patience_s: float = 1.0, roots: Roots | None = None) -> ExpandedSource:
    prober = Prober(limits=DecodeLimits(), patience_s=patience_s, roots=roots)
    return ExpandedSource(source, parting, ask=prober.ask)


def table(source: ExpandedSource) -> pa.Table:
    return pa.Table.from_batches(list(source.refs()), source.schema)


@pytest.fixture(autouse=True)
def one_core() -> Iterator[None]:
    """On one core there is one decoder, which takes a second to start."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(cores)[os.getpid() % len(cores)]})
    yield
    os.sched_setaffinity(0, cores)


@pytest.fixture
def folder(tmp_path: Path, photographs: dict[str, Path]) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    shutil.copy(photographs["rocket.jpg"], folder / "b.jpg")
    (folder / "a.png").write_bytes(b"no image at all")
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(folder / "c.gif", save_all=True, append_images=frames[1:])
    return folder


def test_every_tile_is_a_ref_and_what_is_no_image_stays_one(folder: Path):
    found = table(source := expanded(DirectorySource(str(folder)), TILED))
    boxes = list(tile_boxes((427, 640), tile_px=256, overlap_px=32))
    assert found["image_id"].to_pylist() == [
        "a.png",
        *("b.jpg#box={},{},{},{}".format(*box) for box in boxes),
        "c.gif#box=0,0,8,8",
    ]
    assert found.schema.names == [*REFS.names, PART.name, *TILES.names]
    rows = found.to_pylist()
    assert [rows[0][name] for name in TILES.names] == [None] * 8
    assert [tuple(row[name] for name in TILES.names[:4]) for row in rows[1:-1]] == boxes
    assert {(row["image_height"], row["image_width"], row["scale_y"]) for row in rows[1:-1]} == {(427, 640, 0.25)}
    assert rows[-1]["scale_x"] == 8
    assert source.description["kind"] == "directory"
    assert {row["uri"] for row in rows[1:-1]} == {str(folder / "b.jpg")}


def test_every_frame_is_a_ref_and_one_alone_is_the_image(folder: Path):
    found = table(expanded(DirectorySource(str(folder)), Frames()))
    assert found["image_id"].to_pylist() == ["a.png", "b.jpg", *(f"c.gif#frame={number}" for number in range(3))]
    assert found[PART.name].to_pylist() == [None, None, "page=0", "page=1", "page=2"]
    unit = unit_of(found, folder)
    assert [row.image_id for row in unit.quarantine] == ["a.png"]
    np.testing.assert_array_equal(unit.pixels_NCHW[2], pipeline.preprocess(_frame(folder, 1), 64).numpy())


def _frame(folder: Path, number: int) -> np.ndarray:
    return decode((folder / "c.gif").read_bytes(), frame=number)


def unit_of(found: pa.Table, folder: Path) -> DecodedUnit:
    (plan,) = cut_units(found.to_batches(), 1000)
    fetch = FetchAndDecode(side_px=64, sink_uri=str(folder.parent / "set"), run=1, patience_s=1.0)
    return DecodedUnit.from_block(fetch(plan))


def test_tiles_are_crops_and_each_that_is_damaged_is_a_row_of_the_quarantine(folder: Path):
    noise = np.random.default_rng(1).integers(0, 256, (700, 600, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "d.png")
    (folder / "d.png").write_bytes((folder / "d.png").read_bytes()[:-400_000])
    found = table(expanded(DirectorySource(str(folder)), TILED))
    unit = unit_of(found, folder)
    embedded, refused = [image.image_id for image in unit.images], {row.image_id: row for row in unit.quarantine}
    assert len(embedded) + len(refused) == found.num_rows, "embedded and quarantined are what was planned"
    assert refused["a.png"].stage == "decode"
    below = [row.error_type for name, row in refused.items() if name.startswith("d.png")]
    assert below
    assert set(below) == {"TruncatedImage"}
    assert any(name.startswith("d.png") for name in embedded), "tiles above the cut"
    whole = decode((folder / "b.jpg").read_bytes())
    for place, name in enumerate(embedded):
        if name.startswith("b.jpg"):
            left, top, width, height = map(int, name.partition("=")[2].split(","))
            crop = np.ascontiguousarray(whole[top : top + height, left : left + width])
            np.testing.assert_array_equal(unit.pixels_NCHW[place], pipeline.preprocess(crop, 64).numpy())


def test_images_in_shards_keep_their_place_and_what_the_source_said(tmp_path: Path, photographs: dict[str, Path]):
    data = photographs["rocket.jpg"].read_bytes()
    (tmp_path / "shard").write_bytes(b"12345" + data)
    batch = refs_batch([("r", str(tmp_path / "shard"), len(data) + 5, "")])
    batch = batch.append_column(PART, pa.array([Part(bytes_at=(5, 5 + len(data))).text])).append_column("label", ["x"])
    found = table(source := expanded(Listed(batch), TILED)).to_pylist()
    assert (len(found), source.num_ignored) == (6, 3)
    assert {row["label"] for row in found} == {"x"}
    assert found[0][PART.name] == f"bytes=5-{5 + len(data)}&box=0,0,256,256"


def test_what_stands_for_images_that_are_not_known_passes_and_files_of_unknown_size_are_read_whole(
    tmp_path: Path, photographs: dict[str, Path]
):
    batch = refs_batch([("lost", "/nowhere", 5, ""), ("r", str(photographs["rocket.jpg"]), 0, "")])
    batch = batch.append_column(PART, pa.array([Part(damage="it is cut off").text, None]))
    found = table(expanded(Listed(batch), TILED))
    assert found[PART.name].to_pylist()[:2] == ["damage=it+is+cut+off", "box=0,0,256,256"]
    unit = unit_of(found, tmp_path)
    assert len(unit.images) == 6
    assert [(row.image_id, row.error_type) for row in unit.quarantine] == [("lost", "DamagedShard")]


def test_an_image_below_no_root_of_a_list_is_not_looked_at_and_stays_one(folder: Path, tmp_path: Path):
    roots = Roots((str(tmp_path / "elsewhere"),))
    source = expanded(DirectorySource(str(folder)), Frames(), roots=roots)
    assert table(source)["image_id"].to_pylist() == ["a.png", "b.jpg", "c.gif"]


def test_a_store_that_is_away_ends_the_listing(store: ProxiedBucket, folder: Path):
    store.direct.put_object(Bucket=store.bucket, Key="b.jpg", Body=(folder / "b.jpg").read_bytes())
    source = expanded(DirectorySource(f"s3://{store.bucket}"), TILED, patience_s=0.1)
    assert table(source).num_rows == 6
    store.proxy.install(Answer(503, operation="GetObject"))
    with pytest.raises(StoreUnavailableError):
        table(source)


def test_an_object_that_is_gone_is_one_row_which_is_never_read_whole(
    store: ProxiedBucket, folder: Path, tmp_path: Path
):
    for name in ("a.jpg", "b.jpg"):
        store.direct.put_object(Bucket=store.bucket, Key=name, Body=(folder / "b.jpg").read_bytes())
    store.proxy.install(Answer(404, key="a.jpg", operation="GetObject"))
    found = table(expanded(DirectorySource(f"s3://{store.bucket}"), TILED))
    assert found[PART.name].to_pylist()[:2] == ["box=0,0,0,0", "box=0,0,256,256"]
    unit = unit_of(found, tmp_path)
    assert [(row.image_id, row.stage, row.error_type) for row in unit.quarantine] == [
        ("a.jpg", "fetch", "FileNotFoundError")
    ]


def test_a_row_of_a_list_in_a_folder_that_is_not_there_is_one_row_and_keeps_nobody(folder: Path, tmp_path: Path):
    """As it is without tiles: a folder that is not mounted has none of a unit's images, this one has others."""
    batch = refs_batch([("gone", f"{tmp_path}/nowhere/c.tif", 5, ""), ("b", str(folder / "b.jpg"), 71_000, "")])
    size_bytes = (folder / "b.jpg").stat().st_size
    batch = batch.set_column(2, REFS.field("size_bytes"), pa.array([5, size_bytes]))
    unit = unit_of(table(expanded(Listed(batch), TILED)), tmp_path)
    assert [(row.image_id, row.error_type) for row in unit.quarantine] == [("gone", "FileNotFoundError")]
    assert len(unit.images) == 6
