"""What each way to store features costs: figures known beforehand, and what is said of weights and images."""

from pathlib import Path

import pytest
import torch

from pipeline.errors import SourceError
from pipeline.exports.fidelity import CHOICES, Bench, fidelity, sample
from pipeline.featureset.part import Part
from pipeline.model.build import load_encoder_config
from pipeline.model.weights import resolve_weights
from pipeline.sources.directory import DirectorySource
from pipeline.sources.image_ref import refs_batch
from pipeline.storage.roots import Roots
from tests.parity.whole_model import published_tensors, save_whole_model

ENCODER = load_encoder_config("hiera_debug")


@pytest.fixture
def source(make_photos, tmp_path: Path) -> DirectorySource:
    make_photos(tmp_path / "photos", 3)
    (tmp_path / "photos/00001.jpg").write_bytes(b"no image")
    return DirectorySource(str(tmp_path / "photos"), (".jpg",))


def bench_of(checkpoint: str) -> Bench:
    return Bench(ENCODER, resolve_weights(checkpoint, "hiera_debug"), side_px=128, precision="fp32")


def test_every_way_is_measured_with_its_bytes_errors_masks_and_speeds(source: DirectorySource, tmp_path: Path):
    found = fidelity(bench_of(str(save_whole_model(tmp_path / "model.pt", "hiera_debug"))), source.refs(), 3)
    rows = {(row.choice.kind, row.choice.dtypes): row for row in found.rows}
    assert list(rows) == [(choice.kind, choice.dtypes) for choice in CHOICES]
    assert found.num_images == 2
    assert any(note.startswith("left out 00001.jpg: ") for note in found.notes)
    cells = 32 * 32, 16 * 16, 8 * 8
    assert rows["fpn", ("float16",)].bytes_per_image == 2 * 256 * sum(cells)
    assert rows["decoder", ("int8",)].bytes_per_image == sum(
        n * c + 4 * c for n, c in zip(cells, (32, 64, 256), strict=True)
    )
    for row in found.rows:
        exact, half = row.choice.dtypes == ("float32",), "int8" not in row.choice.dtypes
        assert max(row.errors.values()) < (1e-5 if exact else 1e-3 if half else 0.05), row
        assert row.write_s > 0
        assert row.read_s > 0
    assert min(rows["fpn", ("float32",)].overlaps) >= 0.999
    assert min(rows["decoder", ("float16",)].overlaps) >= 0.99
    assert len(rows["decoder", ("int8",)].overlaps) == 2 * 5 * 3, "images, prompts, masks"
    assert max(rows["decoder", ("int8",)].errors.values()) > 1e-3
    assert rows["embed", ("int8",)].overlaps == []
    table = found.text().splitlines()
    assert sum(line.startswith("| ") for line in table) == 1 + len(CHOICES)


def test_random_weights_are_called_random_and_have_no_masks(source: DirectorySource):
    found = fidelity(bench_of("random"), source.refs(), 1)
    assert found.notes[1].startswith("weights random (seed 0, untrained): no masks")
    assert all(row.overlaps == [] for row in found.rows)
    assert len(found.rows) == len(CHOICES)


def test_an_encoder_alone_measures_what_it_can(source: DirectorySource, tmp_path: Path):
    tensors = published_tensors("hiera_debug")
    alone = {name: value for name, value in tensors.items() if name.startswith("image_encoder.")}
    torch.save({"model": alone}, tmp_path / "model.pt")
    found = fidelity(bench_of(str(tmp_path / "model.pt")), source.refs(), 1)
    assert {row.choice.kind for row in found.rows} == {"fpn", "embed"}
    assert found.notes[1].startswith("no masks: ")


def test_a_source_without_a_readable_image_is_refused(tmp_path: Path):
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    bench = bench_of("random")
    with pytest.raises(SourceError, match="none of the sampled images can be read"):
        fidelity(bench, DirectorySource(str(tmp_path), (".jpg",)).refs(), 4)
    with pytest.raises(SourceError, match="no images"):
        fidelity(bench, DirectorySource(str(tmp_path), (".png",)).refs(), 4)


def test_an_image_below_no_root_of_a_list_is_left_out_unread(source: DirectorySource, tmp_path: Path):
    weights = resolve_weights("random", "hiera_debug")
    bench = Bench(ENCODER, weights, side_px=128, precision="fp32", roots=Roots((str(tmp_path / "elsewhere"),)))
    with pytest.raises(SourceError, match="none of the sampled images can be read"):
        fidelity(bench, source.refs(), 4)
    assert all("is below no root" in note for note in bench.notes if note.startswith("left out"))


def test_parts_are_measured_where_a_picture_of_them_can_be_had_and_nothing_huge_is_read(make_photos, tmp_path: Path):
    make_photos(tmp_path, 1)
    photo = tmp_path / "00000.jpg"
    data = photo.read_bytes()
    (tmp_path / "shard.tar").write_bytes(b"before" + data)
    with (tmp_path / "huge.jpg").open("wb") as huge:
        huge.truncate((256 << 20) + 1)
    bench = bench_of("random")
    parts = {
        "whole": (photo, None),
        "member": (tmp_path / "shard.tar", Part(bytes_at=(6, 6 + len(data)))),
        "rest of a damaged shard": (photo, Part(damage="BadTar")),
        "box": (photo, Part(box=(0, 0, 8, 8))),
        "huge": (tmp_path / "huge.jpg", None),
    }
    found = bench.encode(
        {"image_id": name, "uri": str(path), "part": part and part.text} for name, (path, part) in parts.items()
    )
    assert [image.image_id for image in found] == ["whole", "member"]
    notes = [note for note in bench.notes if note.startswith("left out")]
    assert len(notes) == 3
    assert "is not drawn" in notes[0]
    assert "is not drawn" in notes[1]
    assert "268435456 are allowed" in notes[2]


def test_a_sample_is_drawn_from_the_whole_listing_and_the_same_again():
    batches = [
        refs_batch([(f"{number}", "/x", 1, "1") for number in range(start, start + 50)]) for start in (0, 50, 100)
    ]
    drawn = [row["image_id"] for row in sample(batches, 20)]
    assert drawn == [row["image_id"] for row in sample(batches, 20)]
    assert len(set(drawn)) == 20
    assert {int(image_id) // 50 for image_id in drawn} == {0, 1, 2}
    assert len(sample(batches, 1000)) == 150
