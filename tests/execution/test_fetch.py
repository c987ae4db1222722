"""Fetching and decoding a unit without Ray: pixels of the good, quarantine rows of the bad, nothing else."""

import socket

import numpy as np
import pyarrow as pa
import pytest

import pipeline
from pipeline.execution.blocks import DecodedUnit
from pipeline.execution.fetch import FetchAndDecode
from pipeline.execution.plan import cut_units
from pipeline.sources.image_ref import ImageRef


@pytest.fixture
def fetch_unit():
    def fetch(uris: dict[str, str]) -> DecodedUnit:
        plan = cut_units([ImageRef(name, uri, 1, "1") for name, uri in uris.items()], 100)
        return DecodedUnit.from_block(FetchAndDecode(side_px=64)(plan))

    return fetch


def test_pixels_are_those_of_preprocess(fetch_unit, photographs):
    names = ["rocket.jpg", "camera.png"]
    unit = fetch_unit({name: str(photographs[name]) for name in names})
    assert [image.image_id for image in unit.images] == names
    assert [(image.height, image.width) for image in unit.images] == [(427, 640), (512, 512)]
    for place, name in enumerate(names):
        np.testing.assert_array_equal(unit.pixels_NCHW[place], pipeline.preprocess(photographs[name], 64).numpy())
    assert unit.quarantine == []
    assert set(unit.seconds) == {"fetch", "decode", "resize"}


def test_every_bad_image_becomes_one_row_and_costs_its_neighbours_nothing(fetch_unit, photographs, tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.png").mkdir()
    names = ["empty.png", "folder.png", "missing.png"]
    unit = fetch_unit({**{name: str(tmp_path / name) for name in names}, "coins.png": str(photographs["coins.png"])})
    assert [image.image_id for image in unit.images] == ["coins.png"]
    assert [(row.image_id, row.stage, row.error_type) for row in unit.quarantine] == [
        ("empty.png", "decode", "EmptyFile"),
        ("folder.png", "fetch", "IsADirectoryError"),
        ("missing.png", "fetch", "FileNotFoundError"),
    ]


def test_a_store_that_does_not_answer_is_transient_and_never_the_images_fault(fetch_unit):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    (row,) = fetch_unit({"a.jpg": f"http://127.0.0.1:{port}/a.jpg"}).quarantine
    assert (row.stage, row.error_class) == ("fetch", "transient")


def test_a_unit_of_nothing_but_bad_images_still_is_a_unit(fetch_unit, tmp_path):
    unit = fetch_unit({"gone.png": str(tmp_path / "gone.png")})
    assert unit.images == []
    assert unit.pixels_NCHW.shape == (0, 3, 64, 64)
    assert len(unit.quarantine) == 1


def test_a_block_is_one_row_whatever_the_unit_holds(photographs):
    plan = cut_units([ImageRef(name, str(path), 1, "1") for name, path in photographs.items()], 100)
    block = FetchAndDecode(side_px=64)(plan)
    assert isinstance(block, pa.Table)
    assert block.num_rows == 1
