"""Images in tar shards and in Parquet files, in whole runs: features of the plain files, and damage accounted for."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pipeline
from tests.tars import write_tar

TOY = ["model=hiera_debug", "model.checkpoint=random", "execution.images_per_unit=5", "run.audit_images=0"]

pytestmark = pytest.mark.cluster


def write_shards(folder: Path, images: dict[str, bytes]) -> None:
    """Two whole shards and one that was cut off within its first image."""
    half = len(images) // 2
    for shard, chosen in (("a", list(images)[:half]), ("b/c", list(images)[half:])):
        labelled = {f"{name}{end}": data for name in chosen for end, data in (("", images[name]), (".cls", b"1"))}
        write_tar(folder / f"{shard}.tar", labelled)
    write_tar(folder / "z.tar", {"lost.jpg": b"x" * 5000})
    (folder / "z.tar").write_bytes((folder / "z.tar").read_bytes()[:3000])


def write_rows(path: Path, images: dict[str, bytes]) -> None:
    """All images, and a row that has none."""
    rows = [{"bytes": data, "path": name} for name, data in images.items()]
    image = pa.array(
        [*rows, {"bytes": None, "path": "lost.jpg"}], pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    )
    pq.write_table(pa.table({"image": image, "label": pa.array(range(len(image)))}), path, row_group_size=3)


def test_images_in_tars_and_in_parquet_files_give_the_features_of_the_plain_files(
    start_on_head, expect_features, make_photos, tmp_path
):
    photos = tmp_path / "photos"
    names = make_photos(photos, 8)
    images = {name: (photos / name).read_bytes() for name in names}
    write_shards(tmp_path / "shards", images)
    write_rows(tmp_path / "rows.parquet", images)
    sinks = {kind: tmp_path / kind for kind in ("tar", "parquet")}
    commands = {
        "tar": ["source=tar", f"source.uri={tmp_path}/shards", f"sink.uri={sinks['tar']}"],
        "parquet": [
            *("source=parquet", f"source.uri={tmp_path}/rows.parquet", "source.id_column=image.path"),
            f"sink.uri={sinks['parquet']}",
        ],
    }
    cache = {"SAM2_EMBED_CACHE": str(tmp_path / "cache")}
    jobs = [start_on_head(*command, *TOY, **cache) for command in commands.values()]
    for done in [job.finish() for job in jobs]:
        assert done.code == 0, str(done)
    for sink in sinks.values():
        expect_features(sink, photos, names)

    quarantines = {kind: pipeline.open_features(sink).quarantine.to_pylist() for kind, sink in sinks.items()}
    found = {kind: [(row["image_id"], row["error_type"]) for row in rows] for kind, rows in quarantines.items()}
    assert found == {"tar": [("z.tar", "DamagedShard")], "parquet": [("lost.jpg", "NoImageBytes")]}
    assert "within 'lost.jpg'" in quarantines["tar"][0]["message"]
