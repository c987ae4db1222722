"""A feature set leaves for Feast: what Feast itself says of it, and what exporting twice, elsewhere or half does."""

import json
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import ConfigError, FeatureSetError, SinkError
from pipeline.exports.feast import FeastExport, event_times, export_feast, sealed_at
from pipeline.featureset import catalog
from tests.conftest import REPOSITORY
from tests.small_set import SmallSet, flip_byte, original_size, pooled_values

FEAST = REPOSITORY / ".venv-feast/bin/python"


@pytest.fixture
def small(tmp_path: Path) -> SmallSet:
    """A set of one run: a.jpg and b.jpg have features, bad.jpg has none."""
    small = SmallSet(tmp_path / "set")
    small.embed([["a.jpg", "bad.jpg"], ["b.jpg"]], bad=["bad.jpg"])
    return small


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where exports go."""
    return tmp_path / "an export"


def state(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file with its bytes and when it was last changed, hidden ones too."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "jobs/export_feast.py", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=100, check=False)


def in_feast(folder: Path, exported: FeastExport, **request: Any) -> dict[str, Any]:
    """What Feast says after the commands that the export printed."""
    _, _, printed = exported.text().partition("in Feast")
    place, *commands = [shlex.split(each) for each in printed.split("&&")]
    assert place == ["cd", str(folder)]
    assert {command[0] for command in commands} == {"feast"}
    asked = {"folder": str(folder), "commands": [command[1:] for command in commands], **request}
    done = subprocess.run([FEAST, Path(__file__).with_name("feast_session.py")], input=json.dumps(asked),
                          capture_output=True, text=True, timeout=100, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


@pytest.mark.skipif(not FEAST.exists(), reason="Feast's environment is not there: make .venv-feast/stamp")
def test_feast_serves_the_newest_vectors_and_the_old_ones_as_of_then(small: SmallSet, folder: Path):
    small.embed([["d.jpg"]])
    exported = export_feast(small.uri, folder)
    first, _ = exported.times
    query = pooled_values("b.jpg").tolist()
    early = (first - timedelta(seconds=1)).isoformat()
    said = in_feast(folder, exported, online=["a.jpg", "b.jpg", "bad.jpg"], search=query,
                    historical=[("a.jpg", first.isoformat()), ("a.jpg", early)])  # fmt: skip
    online = said["online"]
    assert online["image_id"] == ["a.jpg", "b.jpg", "bad.jpg"]
    assert online["uri"] == ["/data/photos/a.jpg", "/data/photos/b.jpg", None]
    assert (online["original_height"][0], online["original_width"][0]) == original_size("a.jpg")
    np.testing.assert_array_equal(np.float32(online["embedding"][:2]), [pooled_values("a.jpg"), pooled_values("b.jpg")])
    # Feast leaves out an image of which nothing was known yet.
    np.testing.assert_array_equal(np.float32(said["historical"]["embedding"]), [pooled_values("a.jpg")])
    # What README says of Feast's SQLite store: it loads sqlite-vec under Python 3.10 alone.
    assert "vec0" in said["search"]["error"]

    with sqlite3.connect(folder / "online_store.db") as served:  # so that serving it again would show
        gone = served.execute("DELETE FROM sam2_embed_image_features WHERE instr(entity_key, CAST('d.jpg' AS BLOB))")
        assert gone.rowcount == 4
    small.embed([["a.jpg", "c.jpg"]], version="2")
    exported = export_feast(small.uri, folder)
    *_, second = exported.times
    assert "materialize-incremental" in exported.text()
    times = [second, first, second - timedelta(microseconds=1)]
    said = in_feast(folder, exported, online=["a.jpg", "b.jpg", "c.jpg", "d.jpg"], search=query, load_sqlite_vec=True,
                    historical=[("a.jpg", time.isoformat()) for time in times])  # fmt: skip
    vectors = [pooled_values("a.jpg", "2"), pooled_values("b.jpg"), pooled_values("c.jpg", "2")]
    np.testing.assert_array_equal(np.float32(said["online"]["embedding"][:3]), vectors)
    assert said["online"]["embedding"][3] is None, "an earlier run was loaded once more"
    newest, *before = np.float32(said["historical"]["embedding"])
    np.testing.assert_array_equal(newest, pooled_values("a.jpg", "2"))
    np.testing.assert_array_equal(before, [pooled_values("a.jpg")] * 2)
    found = sorted(zip(said["search"]["distance"], said["search"]["uri"], strict=True))  # Feast gives them in no order
    distances = np.linalg.norm(np.float32(vectors) - query, axis=1)
    order = np.argsort(distances)[:2]
    assert [uri for _, uri in found] == [f"/data/photos/{'abc'[place]}.jpg" for place in order]
    assert found[0][1] == "/data/photos/b.jpg"
    np.testing.assert_allclose([distance for distance, _ in found], distances[order], rtol=1e-5, atol=1e-6)


def test_a_run_is_a_file_of_its_images_and_its_time(small: SmallSet, folder: Path):
    exported = export_feast(small.uri, folder)
    assert sorted(path.name for path in (folder / "data").iterdir()) == ["run-000001.parquet"]
    table = pq.read_table(folder / "data")
    (manifest,) = catalog.sealed_runs(small.root)
    assert table["image_id"].to_pylist() == ["a.jpg", "b.jpg"]
    assert table["original_height"].to_pylist() == [original_size("a.jpg")[0]] * 2
    assert table.schema.field("event_timestamp").type == pa.timestamp("us", "UTC")
    assert table["event_timestamp"].to_pylist() == [sealed_at(manifest)] * 2
    assert table["created_timestamp"].to_pylist() == [sealed_at(manifest)] * 2
    assert table.schema.field("embedding").type == pa.list_(pa.float32())
    np.testing.assert_array_equal(table["embedding"].to_pylist()[1], pooled_values("b.jpg"))
    assert table.schema.metadata[b"sam2_embed.weights"] == b"random (seed 0, untrained)"
    assert (exported.num_new_runs, exported.num_new_images) == (1, 2)


def test_exporting_it_again_changes_nothing(small: SmallSet, folder: Path, tmp_path: Path):
    export_feast(small.uri, folder)
    before = state(folder)
    again = export_feast(small.uri, folder)
    assert state(folder) == before
    assert "nothing new to export" in again.text()
    export_feast(small.uri, tmp_path / "other")
    assert {name: data for name, (data, _) in state(tmp_path / "other").items()} == {
        name: data for name, (data, _) in before.items()
    }


def test_a_new_run_adds_one_file_and_touches_no_other(small: SmallSet, folder: Path):
    export_feast(small.uri, folder)
    (folder / "feature_store.yaml").write_text("project: mine\n")
    before = state(folder)
    small.embed([["a.jpg"]], version="2", removed=["b.jpg"])
    assert export_feast(small.uri, folder).num_new_images == 1
    after = state(folder)
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {"data/run-000002.parquet"}


def test_a_large_run_is_read_in_pieces(tmp_path: Path, folder: Path):
    small = SmallSet(tmp_path / "set", maps=())
    names = [f"{number:05d}.jpg" for number in range(10_001)]
    small.embed([names])
    export_feast(small.uri, folder)
    written = pq.ParquetFile(folder / "data/run-000001.parquet")
    assert written.metadata.num_row_groups == 2
    table = written.read()
    assert table["image_id"].to_pylist() == names
    assert table["event_timestamp"].null_count == 0
    np.testing.assert_array_equal(table["embedding"][10_000].as_py(), pooled_values(names[-1]))


def test_runs_without_features_have_no_file(small: SmallSet, folder: Path):
    small.embed([["c.jpg"]], bad=["c.jpg"])
    small.embed([["d.jpg"]])
    assert export_feast(small.uri, folder).num_new_runs == 2
    assert sorted(path.name for path in (folder / "data").iterdir()) == ["run-000001.parquet", "run-000003.parquet"]


def test_a_later_run_has_a_later_time_whatever_clocks_say(small: SmallSet):
    (one,) = catalog.sealed_runs(small.root)
    clocks = ["2026-11-25T10:00:00+00:00", "2026-11-25T09:00:00+00:00", "2026-11-25T13:00:00+02:00"]
    times = event_times([one.model_copy(update={"run": run, "sealed_at": at}) for run, at in enumerate(clocks, 1)])
    first = datetime(2026, 11, 25, 10, tzinfo=UTC)
    assert times == [first, first + timedelta(seconds=1), first + timedelta(hours=1)]


def test_a_damaged_run_leaves_no_half_file(small: SmallSet, folder: Path):
    export_feast(small.uri, folder)
    before = state(folder)
    small.embed([["c.jpg"]])
    index = small.root.uri + "/" + catalog.sealed_runs(small.root)[1].index.name
    flip_byte(Path(index), 200)
    with pytest.raises(FeatureSetError, match="damaged"):
        export_feast(small.uri, folder)
    assert state(folder) == before
    assert [path.name for path in (folder / "data").iterdir()] == ["run-000001.parquet"]


def test_an_interrupted_export_is_finished_by_the_next(small: SmallSet, folder: Path):
    export_feast(small.uri, folder)
    whole = {name: data for name, (data, _) in state(folder).items()}
    for lost in ("data/run-000001.parquet", "features.py", "feature_store.yaml"):
        (folder / lost).unlink()
        (folder / f".{Path(lost).name}-left").mkdir()  # as a killed writer leaves it
        export_feast(small.uri, folder)
    assert {name: data for name, (data, _) in state(folder).items()} == whole


def test_what_comes_next_depends_on_what_feast_knows(small: SmallSet, folder: Path):
    small.embed([["c.jpg"]])
    first, last = export_feast(small.uri, folder).times
    end = (last + timedelta(seconds=1)).isoformat()
    (folder / "data/run-000002.parquet").unlink()  # as if the export had been interrupted
    begin = f"feast apply && feast materialize {first.isoformat()} {end}"
    assert export_feast(small.uri, folder).text().endswith(begin)
    assert export_feast(small.uri, folder).text().endswith(begin)
    (folder / "registry.db").touch()
    assert "feast" not in export_feast(small.uri, folder).text().partition(str(folder))[2]
    (folder / "data/run-000002.parquet").unlink()
    assert export_feast(small.uri, folder).text().endswith(f"&& feast materialize-incremental {end}")


def test_another_set_is_refused_and_a_moved_one_is_not(small: SmallSet, folder: Path, tmp_path: Path):
    export_feast(small.uri, folder)
    before = state(folder)
    other = SmallSet(tmp_path / "other")
    other.embed([["a.jpg", "bad.jpg"], ["b.jpg"]], bad=["bad.jpg"])
    assert other.record.fingerprint == small.record.fingerprint
    with pytest.raises(ConfigError, match="export of another feature set"):
        export_feast(other.uri, folder)
    moved = shutil.move(small.root.uri, tmp_path / "moved")
    export_feast(moved, folder)
    assert state(folder) == before


def test_a_folder_with_other_things_is_refused(small: SmallSet, folder: Path):
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"holds notes\.txt and is no export"):
        export_feast(small.uri, folder)
    with pytest.raises(ConfigError, match="is no export"):
        export_feast(small.uri, Path(small.root.uri))
    assert list(state(folder)) == ["notes.txt"]


def test_a_file_is_no_folder(small: SmallSet, folder: Path):
    folder.write_text("mine")
    with pytest.raises(SinkError, match="cannot write"):
        export_feast(small.uri, folder)
    assert folder.read_text() == "mine"


def test_sets_that_begin_without_features_are_told_apart(tmp_path: Path, folder: Path):
    sets = [SmallSet(tmp_path / name) for name in ("one", "other")]
    for each in sets:
        each.embed([["a.jpg"]], bad=["a.jpg"])
        each.embed([["a.jpg"]])
    export_feast(sets[0].uri, folder)
    with pytest.raises(ConfigError, match="another feature set"):
        export_feast(sets[1].uri, folder)


def test_a_damaged_record_is_not_guessed_at(small: SmallSet, folder: Path):
    export_feast(small.uri, folder)
    (folder / "export.json").write_text("{}")
    with pytest.raises(FeatureSetError, match=r"export\.json is not a record"):
        export_feast(small.uri, folder)


def test_what_is_not_sealed_or_has_no_features_is_not_exported(tmp_path: Path, folder: Path):
    with pytest.raises(FeatureSetError, match="holds no feature set"):
        export_feast(str(tmp_path / "nothing"), folder)
    small = SmallSet(tmp_path / "set")
    begun = small.begin([["a.jpg"]])
    small.commit(begun, 0, ["a.jpg"])
    with pytest.raises(FeatureSetError, match="not sealed yet"):
        export_feast(small.uri, folder)
    empty = SmallSet(tmp_path / "empty")
    empty.embed([["a.jpg"]], bad=["a.jpg"])
    with pytest.raises(FeatureSetError, match="no image with features"):
        export_feast(empty.uri, folder)
    assert not folder.exists()


def test_the_command_exports_and_says_how_to_go_on(small: SmallSet, folder: Path):
    done = run(f"features.uri={small.uri}", f"export.uri={folder}")
    assert done.returncode == 0, done
    assert re.search(r"^exported 2 images of 1 new run to .*weights random \(seed 0, untrained\)", done.stdout)
    assert f"cd '{folder}' && feast apply && feast materialize 20" in done.stdout


@pytest.mark.parametrize(
    ("export", "said"),
    [("s3://bucket/export", "export.uri=s3://bucket/export is not on local disk"), ("{set}", "is no export")],
)
def test_the_command_refuses_in_one_line(small: SmallSet, export: str, said: str):
    done = run(f"features.uri={small.uri}", f"export.uri={export.format(set=small.root.uri)}")
    assert done.returncode == 64, done
    assert len(done.stderr.splitlines()) == 1, done
    assert said in done.stderr
