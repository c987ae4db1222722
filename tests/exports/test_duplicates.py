"""Near-duplicates of a set: a table of those planted and of none else, a text and a sheet."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.errors import ConfigError
from pipeline.exports.duplicates import find_duplicates
from tests.vector_set import VectorSet, gaussian, names, near

IDS = names(60)


@pytest.fixture
def planted(tmp_path: Path, make_photos) -> VectorSet:
    """A set with a group of three, a pair, and an image that was a duplicate until it was embedded anew."""
    folder = tmp_path / "photos"
    make_photos(folder, 60)
    vectors = gaussian(60)
    vectors[[20, 40]] = near(vectors[7], 0.99), near(vectors[7], 0.985, seed=2)
    vectors[31], vectors[50] = vectors[30], vectors[5]
    made = VectorSet(tmp_path / "set", folder=folder.parent)
    made.embed_vectors(IDS, vectors)
    made.embed_vectors([IDS[50]], gaussian(1, seed=9))
    return made


def test_planted_duplicates_are_written_and_no_others(planted: VectorSet, tmp_path: Path):
    found = find_duplicates(planted.uri, str(tmp_path / "groups.parquet"), min_similarity=0.98)
    table = pq.read_table(tmp_path / "groups.parquet")
    assert table.column_names == ["group", "image_id", "uri", "similarity", "part"]
    assert table["group"].to_pylist() == [0, 0, 0, 1, 1]
    assert table["image_id"].to_pylist() == [IDS[place] for place in (7, 20, 40, 30, 31)]
    assert table["uri"].to_pylist() == [f"{planted.folder}/{each}" for each in table["image_id"].to_pylist()]
    np.testing.assert_allclose(table["similarity"].to_numpy(), [1, 0.99, 0.985, 1, 1], atol=2e-4)
    assert table.schema.metadata[b"sam2_embed.weights"] == b'{"kind": "random", "seed": 0}'
    assert found.num_groups == 2
    assert found.text().splitlines() == [
        "RANDOM WEIGHTS (seed 0, untrained): similarities mean nothing",
        "2 groups of near-duplicates hold 5 of 60 images (similarity from 0.98; 1 of 1 lists searched for each)",
        f"group 0: 3 images: {IDS[7]}, {IDS[20]}, {IDS[40]}",
        f"group 1: 2 images: {IDS[30]}, {IDS[31]}",
    ]


def test_a_sheet_has_a_row_a_group(planted: VectorSet, tmp_path: Path):
    find_duplicates(planted.uri, str(tmp_path / "d.parquet"), min_similarity=0.98).write_sheet(tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (6 * 200 + 8, 2 * 232 + 8 + 24)
        pixels = np.array(sheet)
    tiles = [pixels[60 + row * 232 :][:120, 20 + place * 200 :][:, :160] for row in range(2) for place in range(6)]
    filled = [bool((tile < 250).any()) for tile in tiles]
    assert filled == [True] * 3 + [False] * 3 + [True] * 2 + [False] * 4


def test_a_large_group_is_shown_in_part(tmp_path: Path):
    made = VectorSet(tmp_path / "set")
    made.embed_vectors(names(20), np.repeat(gaussian(1), 20, axis=0))
    text = find_duplicates(made.uri, str(tmp_path / "d.parquet"), min_similarity=1.0).text()
    assert text.endswith(f"group 0: 20 images: {', '.join(names(5))} and 15 more")


def test_a_set_without_duplicates_gives_an_empty_table(tmp_path: Path):
    made = VectorSet(tmp_path / "set")
    made.embed_vectors(names(20), gaussian(20))
    found = find_duplicates(made.uri, str(tmp_path / "d.parquet"), min_similarity=0.5)
    assert pq.read_table(tmp_path / "d.parquet").num_rows == found.num_groups == 0
    assert "0 groups of near-duplicates hold 0 of 20 images" in found.text()
    found.write_sheet(tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.parquet", "set", "sheet.png"]


def test_an_output_elsewhere_is_refused(planted: VectorSet):
    with pytest.raises(ConfigError, match=r"output=s3://b/d.parquet is not on local disk"):
        find_duplicates(planted.uri, "s3://b/d.parquet", min_similarity=0.98)
