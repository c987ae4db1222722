"""Search as people run it: build, search, find duplicates; and a command that makes no sense ends in one clear line."""

import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import pipeline
from pipeline.exports.building import build_index
from tests.conftest import REPOSITORY
from tests.small_set import SETTINGS
from tests.vector_set import VectorSet, debug_settings, embedded_photos, gaussian, grid_spec, names


def run(job: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a job as people do."""
    command = [sys.executable, f"jobs/{job}.py", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=200, check=False)


def test_images_are_indexed_found_and_grouped(make_photos, tmp_path: Path):
    photos = tmp_path / "my photos (1)"
    ids = make_photos(photos, 12)
    (photos / "copy.jpg").write_bytes((photos / ids[3]).read_bytes())
    embedded_photos(tmp_path / "features", photos, [*ids, "copy.jpg"])

    built = run("build_index", f"features.uri={tmp_path}/features", f"index.uri={tmp_path}/index")
    assert built.returncode == 0, built
    assert built.stdout.splitlines() == [
        "RANDOM WEIGHTS (seed 0, untrained): similarities mean nothing",
        "indexed 13 vectors of 13 images, as of run 1",
        "recall@10 1.000 against exact search, 13 queries measured; 1 of 1 lists a query",
    ]
    by_id = run("search", f"index.uri={tmp_path}/index", f"image_id={ids[3]}", "k=4", f"sheet={tmp_path}/a sheet.png")
    assert by_id.returncode == 0, by_id
    assert by_id.stdout.splitlines()[2].split()[:3] == ["1", "1.0000", "copy.jpg"], by_id.stdout
    assert len(by_id.stdout.splitlines()) == 6
    with Image.open(tmp_path / "a sheet.png") as sheet:
        assert sheet.size == (5 * 200 + 8, 232 + 8 + 24)
    by_file = run("search", f"index.uri={tmp_path}/index", f"image={photos}/{ids[5]}", "k=1")
    assert by_file.stdout.splitlines()[2].split()[2] == ids[5], by_file

    output = f"output={tmp_path}/groups.parquet"
    grouped = run("find_duplicates", f"features.uri={tmp_path}/features", "min_similarity=0.9999", output)
    assert grouped.returncode == 0, grouped
    assert f"group 0: 2 images: {ids[3]}, copy.jpg" in grouped.stdout
    assert pq.read_table(tmp_path / "groups.parquet")["image_id"].to_pylist()[:2] == [ids[3], "copy.jpg"]


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> dict[str, str]:
    """Sets and indexes to be refused: pooled, with a grid, of a checkpoint, of settings that have changed."""
    folder = tmp_path_factory.mktemp("refused")
    VectorSet(folder / "set").embed_vectors(names(5), gaussian(5))
    build_index(str(folder / "set"), str(folder / "index"))
    grid = VectorSet(folder / "grid", (grid_spec(2),))
    grid.embed_vectors(names(5), gaussian(5), grids=gaussian(20).reshape(5, 4, 256))
    build_index(grid.uri, str(folder / "cells"), "grid")
    trained = VectorSet(folder / "trained", settings=debug_settings({"kind": "checkpoint", "sha256": "ab" * 32}))
    trained.embed_vectors(names(5), gaussian(5))
    build_index(trained.uri, str(folder / "trained_index"))
    VectorSet(folder / "changed").embed_vectors(names(5), gaussian(5))
    build_index(str(folder / "changed"), str(folder / "changed_index"))
    (folder / "changed").rename(folder / "gone")
    VectorSet(folder / "changed", settings={**SETTINGS, "precision": "fp32"}).embed_vectors(names(5), gaussian(5))
    Image.new("RGB", (64, 64)).save(folder / "photo.png")
    (folder / "text.jpg").write_text("no image")
    encoder = pipeline.build_encoder("hiera_debug", checkpoint="random:1")
    weights = {f"image_encoder.{name}": value for name, value in encoder.state_dict().items()}
    torch.save({"model": weights}, folder / "debug.pt")
    return {"tmp": str(folder), "id": names(1)[0]}


INDEX, CELLS, TRAINED = "index.uri={tmp}/index", "index.uri={tmp}/cells", "index.uri={tmp}/trained_index"


@pytest.mark.parametrize(
    ("job", "overrides", "code", "said"),
    [
        (
            "build_index",
            ["features.uri={tmp}/set", "index.uri=s3://b/i"],
            64,
            "index.uri=s3://b/i is not on local disk",
        ),
        ("build_index", ["features.uri={tmp}/none", "index.uri={tmp}/i"], 65, "{tmp}/none holds no feature set"),
        ("build_index", ["features.uri={tmp}/set", "index.uri={tmp}/set"], 64, "is there and is no index"),
        ("build_index", ["features.uri={tmp}/set", "index.uri={tmp}/i", "vectors=grid"], 64, "has no grid"),
        ("build_index", ["features.uri={tmp}/set", "index.uri={tmp}/i", "vectors=all"], 64, "'pooled' or 'grid'"),
        ("search", [INDEX], 64, "say what to search for: image_id="),
        ("search", [INDEX, "image_id=a", "image=b"], 64, "one of the two"),
        ("search", ["index.uri={tmp}/set", "image_id=a"], 64, "{tmp}/set holds no index"),
        ("search", ["index.uri=s3://b/i", "image_id=a"], 64, "is not on local disk"),
        ("search", ["index.uri={tmp}/changed_index", "image_id={id}"], 64, "build it again with jobs/build_index.py"),
        ("search", [INDEX, "image_id=photos/0001.jpg"], 65, "did you mean 'photos/00001.jpg'"),
        ("search", [INDEX, "image_id={id}", "k=0"], 64, "k=0"),
        ("search", [INDEX, "image_id={id}", "sheet={tmp}/s.jpg"], 64, "sheet="),
        ("search", [INDEX, "image_id={id}", "region=[0,0,1,1]"], 64, "needs an index of cells"),
        ("search", [CELLS, "image_id={id}"], 64, "say which part of the image"),
        ("search", [CELLS, "image_id={id}", "region=[0,0,1,1.5]"], 64, "is not within the image"),
        ("search", [CELLS, "image_id={id}", "region=[0.5,0,0.5,1]"], 64, "is empty"),
        ("search", [CELLS, "image_id={id}", "region=[0,1]"], 64, "region"),
        ("search", [CELLS, "image={tmp}/photo.png", "region=[0,0,1,1]"], 64, "region= needs image_id="),
        ("search", [TRAINED, "image={tmp}/photo.png"], 64, "model.checkpoint is not set"),
        (
            "search",
            [TRAINED, "image={tmp}/photo.png", "model.checkpoint={tmp}/debug.pt"],
            64,
            "features were made with",
        ),
        ("search", [TRAINED, "image={tmp}/gone.png"], 64, "gone.png cannot be read"),
        ("find_duplicates", ["features.uri={tmp}/set"], 64, "output is missing"),
        ("find_duplicates", ["features.uri={tmp}/set", "output=s3://b/d.parquet"], 64, "is not on local disk"),
        ("find_duplicates", ["features.uri={tmp}/set", "output={tmp}/text.jpg/d.parquet"], 73, "cannot write"),
        (
            "find_duplicates",
            ["features.uri={tmp}/set", "output={tmp}/d", "min_similarity=1.5"],
            64,
            "min_similarity=1.5",
        ),
    ],
)
def test_a_refused_command_says_why_in_one_line(places, job, overrides, code, said):
    done = run(job, *(override.format(**places) for override in overrides))
    assert done.returncode == code, done
    assert said.format(**places) in done.stderr, done
    assert done.stderr.startswith("error: "), done
    assert len(done.stderr.strip().splitlines()) == 1, done
    assert "Traceback" not in done.stderr + done.stdout
