"""Expanding: one ref a tile or page in the order of the images, and whatever cannot be looked at stays one ref."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import StoreUnavailableError
from pipeline.execution.blocks import DecodedUnit
from pipeline.execution.expanding import ExpandedSource, Frames, Tiles
from pipeline.execution.fetch import DecodeLimits, FetchAndDecode
from pipeline.execution.plan import cut_units
from pipeline.featureset.schema import PART, TILES
from pipeline.preprocessing.decode import decode
from pipeline.preprocessing.transform import normalise
from pipeline.sources.directory import DirectorySource
from pipeline.storage.roots import Roots
from tests.faults.faults import Answer
from tests.faults.proxied import ProxiedBucket

TILING = Tiles(tile_px=64, overlap_px=8, side_px=32)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    noise = np.random.default_rng(3).integers(0, 256, (100, 150, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "large.png")
    Image.fromarray(noise[:20, :30]).save(folder / "small.jpg")
    (folder / "bad.png").write_bytes(b"no image")
    pages = [Image.new("L", (9, 9), shade) for shade in (0, 100, 200)]
    pages[0].save(folder / "pages.tif", save_all=True, append_images=pages[1:])
    return folder


def expanded(place: Path | str, parting: Tiles | Frames) -> ExpandedSource:
    return ExpandedSource(DirectorySource(str(place)), parting, limits=DecodeLimits(timeout_s=30), patience_s=0.2)


def fetched(source: ExpandedSource, tmp_path: Path) -> DecodedUnit:
    (plan,) = cut_units(source.refs(), 1000)
    return DecodedUnit.from_block(FetchAndDecode(side_px=32, sink_uri=str(tmp_path / "set"), run=1)(plan))


def test_tiles_are_rows_whose_pixels_are_crops_and_a_bad_image_is_one(images: Path, tmp_path: Path):
    source = expanded(images, TILING)
    rows = [row for batch in source.refs() for row in batch.to_pylist()]
    assert rows == [row for batch in source.refs() for row in batch.to_pylist()]
    ids = [row["image_id"] for row in rows]
    lefts, tops = (0, 56, 86), (0, 36)
    assert ids == [
        "bad.png",
        *(f"large.png#box={left},{top},64,64" for top in tops for left in lefts),
        "pages.tif#box=0,0,9,9",
        "small.jpg#box=0,0,30,20",
    ]
    assert [rows[2][name] for name in TILES.names] == [56, 0, 64, 64, 100, 150, 0.5, 0.5]
    unit = fetched(source, tmp_path)
    assert [image.image_id for image in unit.images] == ids[1:]
    assert [(row.image_id, row.error_type) for row in unit.quarantine] == [("bad.png", "NotAnImage")]
    whole = decode((images / "large.png").read_bytes())
    expected = normalise(whole[36:100, 56:120], 32).numpy()
    np.testing.assert_array_equal(unit.pixels_NCHW[ids.index("large.png#box=56,36,64,64") - 1], expected)


def test_frames_are_rows_where_there_are_several(images: Path, tmp_path: Path):
    source = expanded(images, Frames())
    unit = fetched(source, tmp_path)
    pages = [f"pages.tif#frame={number}" for number in range(3)]
    assert [image.image_id for image in unit.images] == ["large.png", *pages, "small.jpg"]
    assert [row.image_id for row in unit.quarantine] == ["bad.png"]
    shades = [np.full((9, 9, 3), shade, np.uint8) for shade in (0, 100, 200)]
    for place, pixels in enumerate(shades, 1):
        np.testing.assert_allclose(unit.pixels_NCHW[place], normalise(pixels, 32).numpy(), atol=1e-6)
    parts = [row[PART.name] for batch in source.refs() for row in batch.to_pylist()]
    assert parts == [None, None, "page=0", "page=1", "page=2", None]


def test_a_store_in_trouble_is_no_bad_image(store: ProxiedBucket, images: Path):
    store.put("large.png", (images / "large.png").read_bytes())
    source = expanded(f"s3://{store.bucket}", TILING)
    assert sum(batch.num_rows for batch in source.refs()) == 6
    store.proxy.install(Answer(503, operation="GetObject"))
    with pytest.raises(StoreUnavailableError):
        list(source.refs())


def test_an_image_below_no_root_of_a_list_is_not_looked_at_and_stays_one_ref(images: Path, tmp_path: Path):
    roots = Roots((str(tmp_path / "elsewhere"),))
    listed = DirectorySource(str(images))
    source = ExpandedSource(listed, Frames(), limits=DecodeLimits(timeout_s=30), patience_s=0.2, roots=roots)
    assert [row["image_id"] for batch in source.refs() for row in batch.to_pylist()] == sorted(
        path.name for path in images.iterdir()
    )
