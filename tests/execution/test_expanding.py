"""Expanding: what there is of an image is what is planned, and whatever is wrong with it is one row that says so."""

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import pipeline
from pipeline.errors import ConfigError, StoreUnavailableError
from pipeline.execution.blocks import DecodedUnit
from pipeline.execution.expanding import ExpandedSource, Frames, Tiles
from pipeline.execution.fetch import DecodeLimits, FetchAndDecode
from pipeline.execution.plan import cut_units
from pipeline.featureset.part import Part
from pipeline.featureset.schema import PART, TILES
from pipeline.preprocessing.decode import decode
from pipeline.preprocessing.pixel_rules import PixelRules
from pipeline.sources.directory import DirectorySource
from pipeline.sources.image_ref import REFS, refs_batch
from tests.faults.faults import Answer
from tests.faults.proxied import ProxiedBucket
from tests.preprocessing import forged

TILED = Tiles(tile_px=256, overlap_px=32, side_px=64)
LIMITS = DecodeLimits(rules=PixelRules(max_pixels=100_000))


@pytest.fixture(autouse=True)
def one_core() -> Iterator[None]:
    """On one core there is one decoder, which takes a second to start."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(cores)[os.getpid() % len(cores)]})
    yield
    os.sched_setaffinity(0, cores)


@pytest.fixture
def folder(tmp_path: Path, photographs: dict[str, Path]) -> Path:
    """A large photograph, a small one, an animation, a document, and files that are no images."""
    place = tmp_path / "images"
    place.mkdir()
    with Image.open(photographs["rocket.jpg"]) as image:
        photo = image.convert("RGB")
    photo.save(place / "large.png")
    small = photo.resize((100, 60))
    small.save(place / "small.jpg")
    turned = [small.rotate(angle) for angle in (90, 180)]
    small.save(place / "moving.gif", save_all=True, append_images=turned)
    small.save(place / "pages.tif", save_all=True, append_images=turned[:1])
    (place / "empty.png").touch()
    (place / "page.jpg").write_text("<!doctype html>")
    (place / "bomb.png").write_bytes(forged.png((60_000, 60_000)))
    return place


def planned(source: ExpandedSource) -> pa.Table:
    return pa.Table.from_batches(source.refs(), source.schema)


def fetched(refs: pa.Table, tmp_path: Path) -> Iterator[DecodedUnit]:
    (plan,) = cut_units(refs.to_batches(), 8)
    fetch = FetchAndDecode(side_px=64, sink_uri=str(tmp_path / "set"), run=1, limits=LIMITS, patience_s=1.0)
    return (DecodedUnit.from_block(fetch(plan.slice(unit, 1))) for unit in range(plan.num_rows))


def test_tiles_are_planned_with_their_boxes_and_are_the_pixels_of_those(folder: Path, tmp_path: Path):
    source = ExpandedSource(DirectorySource(str(folder)), TILED, limits=LIMITS)
    refs = planned(source)
    rows = refs.to_pylist()
    assert refs.column_names == [*REFS.names, PART.name, *TILES.names]
    large = [row for row in rows if row["image_id"].startswith("large.png")]
    assert [row["image_id"] for row in large[:3]] == [f"large.png#box={left},0,256,256" for left in (0, 224, 384)]
    assert len(large) == 6
    last = {name: large[-1][name] for name in TILES.names}
    boxes = {"box_left": 384, "box_top": 171, "box_width": 256, "box_height": 256}
    assert last == {**boxes, "image_height": 427, "image_width": 640, "scale_y": 0.25, "scale_x": 0.25}
    (small,) = (row for row in rows if row["image_id"].startswith("small.jpg"))
    assert (small["image_id"], small["part"]) == ("small.jpg#box=0,0,100,60", "box=0,0,100,60")
    assert (small["scale_y"], small["scale_x"]) == (64 / 60, 0.64), "it is resized to a square as whole images are"
    assert {row["version"] for row in large} == {large[0]["version"]} != {""}

    units = list(fetched(refs, tmp_path))
    whole = {
        name: decode((folder / name).read_bytes()) for name in ("large.png", "small.jpg", "moving.gif", "pages.tif")
    }
    for unit in units:
        for place, image in enumerate(unit.images):
            name, _, box = image.image_id.partition("#box=")
            left, top, width, height = map(int, box.split(","))
            expected = pipeline.preprocess(whole[name][top : top + height, left : left + width], 64)
            np.testing.assert_array_equal(unit.pixels_NCHW[place], expected.numpy())
            assert (image.height, image.width) == (height, width)
    assert sum(len(unit.images) for unit in units) == 9
    failed = {row.image_id: (row.stage, row.error_type) for unit in units for row in unit.quarantine}
    assert failed == {
        "empty.png": ("decode", "EmptyFile"),
        "page.jpg": ("decode", "FormatNotAllowed"),
        "bomb.png": ("decode", "ImageTooLarge"),
    }
    assert len(rows) == 9 + 3, "what is planned is what is embedded or quarantined"


def test_every_frame_and_page_is_a_row_and_an_image_of_one_stays_as_it_is(folder: Path, tmp_path: Path):
    refs = planned(ExpandedSource(DirectorySource(str(folder)), Frames(), limits=LIMITS))
    assert refs.column_names == [*REFS.names, PART.name]
    assert dict(zip(refs["image_id"].to_pylist(), refs["part"].to_pylist(), strict=True)) == {
        **{f"moving.gif#frame={number}": f"page={number}" for number in range(3)},
        **{f"pages.tif#frame={number}": f"page={number}" for number in range(2)},
        **dict.fromkeys(("bomb.png", "empty.png", "large.png", "page.jpg", "small.jpg")),
    }
    units = list(fetched(refs, tmp_path))
    for unit in units:
        for place, image in enumerate(unit.images):
            name, _, frame = image.image_id.partition("#frame=")
            expected = decode((folder / name).read_bytes(), frame=int(frame or 0), rules=PixelRules(max_pixels=10**6))
            np.testing.assert_array_equal(unit.pixels_NCHW[place], pipeline.preprocess(expected, 64).numpy())
    assert {row.image_id for unit in units for row in unit.quarantine} == {
        *("bomb.png", "empty.png", "page.jpg"),
        "large.png",  # more than 100,000 pixels
    }


class Given:
    """A source of these refs, which has a column of its own."""

    description, num_ignored = {"kind": "given"}, 3
    schema = REFS.append(PART).append(pa.field("label", pa.int32()))

    def __init__(self, rows: list[tuple[str, str, int, str]], parts: list[str | None]) -> None:
        labels = pa.array(range(len(rows)), pa.int32())
        self._batch = refs_batch(rows).append_column(PART, pa.array(parts, pa.string())).append_column("label", labels)

    def refs(self) -> Iterator[pa.RecordBatch]:
        yield self._batch


def test_parts_keep_where_their_image_is_in_its_file_and_what_the_source_says_of_it(folder: Path, tmp_path: Path):
    small, moving = (folder / "small.jpg").read_bytes(), (folder / "moving.gif").read_bytes()
    (tmp_path / "shard.tar").write_bytes(small + moving)
    uri, cut, size = str(tmp_path / "shard.tar"), len(small), len(small) + len(moving)
    spans = [f"bytes=0-{cut}", f"bytes={cut}-{size}", "damage=it+is+cut+off", None]
    shard = [(name, uri, size, "") for name in ("a", "b", "c")]
    given = Given([*shard, ("d", str(folder / "small.jpg"), 0, "")], spans)  # a file whose size nobody said
    tiles = planned(ExpandedSource(given, TILED, limits=LIMITS))
    box = "box=0,0,100,60"
    assert tiles["part"].to_pylist() == [f"{spans[0]}&{box}", f"{spans[1]}&{box}", spans[2], box]
    source = ExpandedSource(given, Frames(), limits=LIMITS)
    frames = planned(source)
    assert frames["image_id"].to_pylist() == ["a", "b#frame=0", "b#frame=1", "b#frame=2", "c", "d"]
    assert frames["label"].to_pylist() == [0, 1, 1, 1, 2, 3]
    pages = [f"{spans[1]}&page={each}" for each in range(3)]
    assert frames["part"].to_pylist() == [spans[0], *pages, spans[2], None]
    assert (source.description, source.num_ignored) == (given.description, 3)
    for refs, num_images in ((tiles, 3), (frames, 5)):
        (unit,) = fetched(refs, tmp_path)
        assert len(unit.images) == num_images
        assert [row.error_type for row in unit.quarantine] == ["DamagedShard"]


@pytest.mark.parametrize("part", ["row=3&column=image", "video_frame=3&pts=5", "page=2"])
def test_parts_that_are_not_parted_further_are_refused_by_name(part: str):
    source = ExpandedSource(Given([("a", "/data/x", 5, "")], [part]), TILED, limits=LIMITS)
    with pytest.raises(ConfigError, match=rf"a is {part} of /data/x.* leave out preprocess=tiles"):
        list(source.refs())


def test_many_images_keep_their_order(tmp_path: Path, make_photos: Callable[..., list[str]]):
    names = make_photos(tmp_path / "photos", 60)
    refs = planned(ExpandedSource(DirectorySource(str(tmp_path / "photos")), TILED, limits=LIMITS))
    assert refs["image_id"].to_pylist() == [f"{name}#box=0,0,96,64" for name in names]


# Stores


@pytest.fixture
def bucket_of_two(store: ProxiedBucket) -> DirectorySource:
    for name, colour in (("a.png", "red"), ("b.png", "blue")):
        stream = io.BytesIO()
        Image.new("RGB", (300, 200), colour).save(stream, "PNG")
        store.direct.put_object(Bucket=store.bucket, Key=f"photos/{name}", Body=stream.getvalue())
    return DirectorySource(f"s3://{store.bucket}/photos", patience_s=1.0)


def test_an_object_that_is_gone_stays_one_row_and_others_are_planned(
    bucket_of_two: DirectorySource, store: ProxiedBucket, tmp_path: Path
):
    store.proxy.install(Answer(404, key="a.png", operation="GetObject"))
    refs = planned(ExpandedSource(bucket_of_two, TILED, limits=LIMITS, patience_s=1.0))
    rows = refs.to_pylist()
    assert [row["image_id"] for row in rows] == ["a.png", *(f"b.png#box={left},0,256,200" for left in (0, 44))]
    assert Part.of(rows[0]["part"]).box == (0, 0, 0, 0), "so that it is never read as a whole"
    assert all(rows[0][name] is None for name in TILES.names)
    (unit,) = fetched(refs, tmp_path)
    assert [(row.image_id, row.stage, row.error_type) for row in unit.quarantine] == [
        ("a.png", "fetch", "FileNotFoundError")
    ]


def test_a_store_in_trouble_ends_the_command_and_blames_no_image(bucket_of_two: DirectorySource, store: ProxiedBucket):
    store.proxy.install(Answer(503, operation="GetObject"))
    source = ExpandedSource(bucket_of_two, TILED, limits=LIMITS, patience_s=0.1)
    with pytest.raises(StoreUnavailableError, match=f"s3://{store.bucket}/photos/a.png"):
        list(source.refs())
