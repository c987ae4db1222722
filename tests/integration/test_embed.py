"""The embed job from command to sealed feature set, as a process of its own on a real Ray."""

import json
import re
import signal
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import pipeline
from pipeline.observability.events import UnitEvent

TOY = ["model=hiera_debug", "model.checkpoint=random"]
PROGRESS = re.compile(r"\d+/\d+ images, \d+ quarantined(, [\d.]+ images/s, \d+ s left)?")

pytestmark = pytest.mark.cluster


def wait_for_commits(sink: Path, job, count: int) -> None:
    """Waits until a running job has that many commits."""
    folder = sink / "runs" / "000001" / "commits"
    while not folder.is_dir() or len(list(folder.iterdir())) < count:
        assert job.process.poll() is None, f"ended before {count} commits: {job.finish()}"
        time.sleep(0.05)


def test_a_newcomers_run_is_quiet_complete_and_true(start_locally, expect_features, photographs, tmp_path):
    sink = tmp_path / "features"
    unit = "execution.images_per_unit=5"
    first = start_locally("source=sample", *TOY, f"sink.uri={sink}", unit, "run.report=true").finish()
    assert first.code == 0, str(first)
    announced, *lines = first.err.splitlines()
    told = [UnitEvent(**json.loads(line)) for line in lines if line.startswith("{")]
    progress = [line for line in lines if not line.startswith("{")]
    assert sorted((event.unit, event.embedded) for event in told) == [(0, 5), (1, 4)]
    assert (
        announced == f"run 1: {len(photographs)} of {len(photographs)} images to embed, in 2 units; encoders: 1 on cpu"
    )
    assert [line for line in progress if not PROGRESS.fullmatch(line)] == [], "Ray is quiet by default"
    assert first.out.startswith(f"sealed run 1 of {sink}"), str(first)
    assert f"{len(photographs)} planned = {len(photographs)} embedded + 0 quarantined" in first.out
    assert "untrained" in first.out, "random weights are called random"
    assert f"  report     {sink}/report.html\n" in first.out
    assert (sink / "report.html").stat().st_size > 100_000, "photographs are in it"
    expect_features(sink, next(iter(photographs.values())).parent, list(photographs))

    before = {path: path.read_bytes() for path in sink.rglob("*") if path.is_file()}
    again = start_locally("source=sample", *TOY, f"sink.uri={sink}").finish()
    assert again.code == 0, str(again)
    assert again.out.startswith("nothing to do"), str(again)
    assert {path: path.read_bytes() for path in sink.rglob("*") if path.is_file()} == before


def test_a_bad_image_never_stops_the_job(start_on_head, expect_features, make_photos, tmp_path):
    folder, sink = tmp_path / "photos", tmp_path / "features"
    good = make_photos(folder, 5)
    whole = (folder / good[0]).read_bytes()
    bad = {
        "zero.jpg": (b"", "EmptyFile"),
        "deep/er #1/cut.jpg": (whole[: len(whole) // 2], "TruncatedImage"),
        "page.png": (b"<!doctype html><title>404</title>", "FormatNotAllowed"),
    }
    for name, (data, _) in bad.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (folder / "dangling.jpg").symlink_to("nowhere")
    (folder / "notes.txt").write_text("not an image by its name")

    done = start_on_head(f"source.uri={folder}", *TOY, f"sink.uri={sink}", "execution.images_per_unit=3").finish()
    assert done.code == 0, str(done)
    expect_features(sink, folder, good)
    features = pipeline.open_features(str(sink))
    found = {row["image_id"]: row for row in features.quarantine.to_pylist()}
    assert found.keys() == {*bad, "dangling.jpg"}
    assert {name: found[name]["error_type"] for name in bad} == {name: kind for name, (_, kind) in bad.items()}
    assert (found["dangling.jpg"]["stage"], found["zero.jpg"]["stage"]) == ("fetch", "decode")
    assert all(row["message"] and row["error_class"] == "permanent" for row in found.values())
    run = features.metadata["runs"][0]
    assert run["num_planned"] == run["num_embedded"] + run["num_quarantined"] == len(good) + len(found)


def test_a_list_of_images_is_embedded_with_what_it_says_of_them(start_on_head, expect_features, make_photos, tmp_path):
    folder, sink = tmp_path / "photos", tmp_path / "features"
    names = make_photos(folder, 4)
    bad = {"gone": "gone.jpg", "red": "\x1b[31mred\n.jpg", "up": "../../../etc/passwd", "web": "http://127.0.0.1:1/x"}
    uris = [*names[:3], f"{folder}/{names[3]}", *bad.values()]
    ids = [*names, *bad]
    stars = pa.array([1, 2, None, 4, 5, 6, 7, 8])
    versions = [f"v{number}" for number in range(8)]
    table = pa.table({"uri": uris, "image_id": ids, "version": versions, "stars": stars})
    pq.write_table(table, folder / "list.parquet")
    command = ["source=manifest", f"source.uri={folder}/list.parquet", *TOY, f"sink.uri={sink}"]
    done = start_on_head(*command, "execution.images_per_unit=3").finish()
    assert done.code == 0, str(done)
    assert "8 planned = 4 embedded + 4 quarantined" in done.out
    expect_features(sink, folder, names)
    features = pipeline.open_features(str(sink))
    assert {name: features[name].extra["stars"] for name in names} == dict(zip(names, [1, 2, None, 4], strict=True))
    assert features[names[0]].uri == f"{folder}/{names[0]}"
    found = {row["image_id"]: row["error_type"] for row in features.quarantine.to_pylist()}
    assert found == {"gone": "FileNotFoundError", "red": "BadKey", "up": "UriNotAllowed", "web": "UriNotAllowed"}


def test_a_run_that_was_drained_and_killed_ends_with_the_rows_of_an_uninterrupted_one(
    start_locally, start_on_head, expect_features, make_photos, tmp_path
):
    folder, sink, straight = tmp_path / "photos", tmp_path / "features", tmp_path / "straight"
    names = make_photos(folder, 120)
    # Units of a good part of a second: the signal comes while some are in hand.
    command = [f"source.uri={folder}", *TOY, "execution.images_per_unit=8"]

    drained = start_locally(*command, f"sink.uri={sink}")
    wait_for_commits(sink, drained, 2)
    drained.process.send_signal(signal.SIGTERM)
    ended = drained.finish()
    assert ended.code == 143, str(ended)
    assert "run the same command again" in ended.err
    assert "draining: all units in hand are committed" in ended.err, str(ended)
    with pytest.raises(pipeline.PipelineError, match="not sealed"):
        pipeline.open_features(sink, sealed_only=True)
    so_far = pipeline.open_features(sink)
    assert (so_far.is_sealed, 0 < len(so_far) < 120, set(so_far) <= set(names)) == (False, True, True)

    killed = start_locally(*command, f"sink.uri={sink}")
    wait_for_commits(sink, killed, 8)
    killed.process.kill()
    killed.finish()
    kept = {path.name: path.read_bytes() for path in (sink / "runs/000001/commits").iterdir()}

    last = start_on_head(*command, f"sink.uri={sink}").finish()
    assert last.code == 0, str(last)
    expect_features(sink, folder, names)
    now = {path.name: path.read_bytes() for path in (sink / "runs/000001/commits").iterdir()}
    assert {name: now[name] for name in kept} == kept, "what was committed is not done again"

    reference = start_on_head(*command, f"sink.uri={straight}").finish()
    assert reference.code == 0, str(reference)
    interrupted, whole = (pipeline.open_features(str(place)) for place in (sink, straight))
    assert interrupted.image_ids == whole.image_ids
    for name in names[::17]:
        assert all(
            (one == other).all()
            for one, other in zip(interrupted[name].backbone_fpn, whole[name].backbone_fpn, strict=True)
        ), name


def test_two_at_once_make_no_image_twice_and_a_later_run_holds_only_what_is_new(
    start_on_head, expect_features, make_photos, tmp_path
):
    folder, sink = tmp_path / "photos", tmp_path / "features"
    names = make_photos(folder, 24)
    command = [f"source.uri={folder}", *TOY, f"sink.uri={sink}", "execution.images_per_unit=2"]
    both = [start_on_head(*command), start_on_head(*command)]
    ends = [job.finish() for job in both]
    assert [end.code for end in ends] == [0, 0], "\n".join(map(str, ends))
    expect_features(sink, folder, names)

    (folder / "new.jpg").write_bytes((folder / names[3]).read_bytes())
    (folder / names[0]).write_bytes((folder / names[1]).read_bytes())
    later = start_on_head(*command).finish()
    assert later.code == 0, str(later)
    assert "2 planned = 2 embedded" in later.out
    expect_features(sink, folder, [*names, "new.jpg"])
    pooled = pipeline.open_features(str(sink)).pooled
    vectors = {
        name: pooled.filter(pc.equal(pooled["image_id"], pa.scalar(name)))["embedding"][0].as_py()
        for name in (names[0], names[1])
    }
    assert vectors[names[0]] == vectors[names[1]], "the changed image counts as its last run has it"

    other = start_on_head(*command, "features=embed", "model.neck.fuse_type=avg").finish()
    assert other.code == 78, str(other)
    assert "features: fpn -> embed" in other.err
    assert "encoder.neck.fuse_type: sum -> avg" in other.err or "encoder.neck.fuse_type: (absent) -> avg" in other.err
