"""Weights are named once, identified by content, and found again or refused."""

import hashlib
import logging
import os
import pickle
import re
from pathlib import Path

import pytest
import torch

from pipeline.errors import CheckpointError, ConfigError
from pipeline.model.build import assemble_encoder, build_encoder, load_encoder_config
from pipeline.model.checkpoint_kind import MAX_BYTES, check_size
from pipeline.model.weights import Weights, local_copy, resolve_weights
from pipeline.storage.cache import cache_folder
from tests.faults.proxied import ProxiedBucket

MODEL = "hiera_debug"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAM2_EMBED_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    encoder = build_encoder(MODEL, checkpoint="random:5")
    torch.save({"model": {f"image_encoder.{k}": v for k, v in encoder.state_dict().items()}}, tmp_path / "x.pt")
    return tmp_path / "x.pt"


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(("choice", "seed"), [("random", 0), ("random:0", 0), ("random:17", 17)])
def test_random_weights_are_a_seed_and_marked_as_untrained(choice: str, seed: int):
    weights = resolve_weights(choice, MODEL)
    assert weights == Weights("random", seed=seed)
    assert weights.label == f"random (seed {seed}, untrained)"
    assert weights.identity == {"kind": "random", "seed": seed}
    with pytest.raises(CheckpointError, match="have no file"):
        local_copy(weights)


def test_a_file_is_identified_by_its_content_wherever_it_lies(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "other").mkdir()
    elsewhere = tmp_path / "other" / "y.pt"
    elsewhere.write_bytes(checkpoint.read_bytes())
    monkeypatch.chdir(tmp_path)
    found = [resolve_weights(uri, MODEL) for uri in (str(checkpoint), "x.pt", f"file://{checkpoint}", str(elsewhere))]
    assert found[0] == found[1] == found[2] == resolve_weights(f"FILE://{checkpoint}", MODEL)
    assert found[0].uri == str(checkpoint)
    assert all(weights.identity == {"kind": "checkpoint", "sha256": sha256_of(checkpoint)} for weights in found)
    assert found[3].label == f"y.pt sha256 {sha256_of(checkpoint)[:8]}..."
    assert local_copy(found[1]) == checkpoint


def test_a_checkpoint_gives_the_features_of_the_encoder_it_was_saved_from(checkpoint: Path):
    weights = pickle.loads(pickle.dumps(resolve_weights(str(checkpoint), MODEL)))  # noqa: S301  our own bytes
    loaded = assemble_encoder(load_encoder_config(MODEL).tree, weights)
    saved = build_encoder(MODEL, checkpoint="random:5")
    pixels_BCHW = torch.randn(1, 3, 128, 128)
    assert torch.equal(loaded(pixels_BCHW)["vision_features"], saved(pixels_BCHW)["vision_features"])


def test_a_file_that_changed_since_is_refused_with_both_hashes(checkpoint: Path):
    weights = resolve_weights(str(checkpoint), MODEL)
    checkpoint.write_bytes(b"something else")
    with pytest.raises(CheckpointError, match=f"has sha256 {sha256_of(checkpoint)}, but this run began with"):
        local_copy(weights)
    checkpoint.unlink()
    with pytest.raises(CheckpointError, match="there is no checkpoint file"):
        local_copy(weights)


def test_a_remote_file_is_fetched_once_and_named_by_its_hash(checkpoint: Path, cache: Path, store: ProxiedBucket):
    uri = f"s3://{store.bucket}/deep?version=3/x.pt"
    store.direct.put_object(Bucket=store.bucket, Key="deep?version=3/x.pt", Body=checkpoint.read_bytes())
    weights = resolve_weights(uri, MODEL)
    cached = cache / f"{sha256_of(checkpoint)}.pt"
    assert local_copy(weights) == cached
    assert weights.label.startswith("x.pt sha256 ")
    assert "bucket" not in repr(weights)

    store.direct.delete_object(Bucket=store.bucket, Key="deep?version=3/x.pt")
    assert local_copy(weights) == cached
    cached.unlink()
    with pytest.raises(CheckpointError, match=re.escape(f"there is no checkpoint {uri};")):
        local_copy(weights)


@pytest.mark.parametrize("key", ["upper.pt", "a::b/x.pt", "a?v1/model.pt", "a?b#c%20/M.PT"])
def test_a_uri_is_read_as_everywhere_else(key: str, checkpoint: Path, store: ProxiedBucket):
    store.direct.put_object(Bucket=store.bucket, Key=key, Body=checkpoint.read_bytes())
    weights = resolve_weights(f"S3A://{store.bucket}/{key}", MODEL)
    assert weights == resolve_weights(f"s3://{store.bucket}/{key}", MODEL)
    assert weights.label == f"{key.rpartition('/')[2]} sha256 {sha256_of(checkpoint)[:8]}..."
    assert local_copy(weights).name == f"{sha256_of(checkpoint)}.pt"


def test_a_remote_file_that_was_replaced_is_fetched_anew(checkpoint: Path, cache: Path, store: ProxiedBucket):
    uri = f"s3://{store.bucket}/z.pt"
    store.direct.put_object(Bucket=store.bucket, Key="z.pt", Body=checkpoint.read_bytes())
    first = resolve_weights(uri, MODEL)
    assert resolve_weights(uri, MODEL) == first
    store.direct.put_object(Bucket=store.bucket, Key="z.pt", Body=b"other")
    second = resolve_weights(uri, MODEL)
    assert second.sha256 == hashlib.sha256(b"other").hexdigest() != first.sha256
    (cache / f"{first.sha256}.pt").unlink()
    with pytest.raises(CheckpointError, match="but this run began with"):
        local_copy(first)
    assert not list(cache.glob("*.part"))


def test_a_damaged_copy_in_the_cache_is_fetched_again(checkpoint: Path, cache: Path, store: ProxiedBucket):
    store.direct.put_object(Bucket=store.bucket, Key="w.pt", Body=checkpoint.read_bytes())
    weights = resolve_weights(f"s3://{store.bucket}/w.pt", MODEL)
    (cache / f"{weights.sha256}.pt").write_bytes(b"damaged")
    assert sha256_of(local_copy(weights)) == weights.sha256


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("missing.pt", "there is no checkpoint file /.*missing.pt; look at the path"),
        *(
            (f"{scheme}://x/y.pt", f"cannot fetch the checkpoint {scheme}://x/y.pt: only from s3, gs")
            for scheme in ("nosuch", "memory", "http", "https", "file", "FILE")
        ),
        ("random:x", "checkpoint 'random:x' is not a .pt, .pth, .safetensors file"),
        ("Published", "checkpoint 'Published' is not a .*; give .* published, random .* or auto"),
        ("x.onnx", "checkpoint 'x.onnx' is not a"),
        ("s3://bucket/x.pt?version=3", r"checkpoint 's3://bucket/x.pt\?version=3' is not a"),
        ("https://host/x.onnx?a=b.pt", r"checkpoint 'https://host/x.onnx\?\*\*\*' is not a"),
        (f"s3://bucket/{'x' * 1024}.pt", "there is no checkpoint file of that name: .* a key has 1024 bytes at most"),
        ("", "checkpoint '' is not a"),
    ],
)
def test_what_is_no_checkpoint_is_refused_with_the_choices(choice: str, message: str):
    with pytest.raises(CheckpointError, match=message):
        resolve_weights(choice, MODEL)


def test_a_missing_choice_is_refused_with_the_choices():
    with pytest.raises(ConfigError, match=r"no checkpoint is named; give .* published, random \(untrained\), or auto"):
        resolve_weights(None, MODEL)


@pytest.mark.parametrize("scheme", ["nosuch", "s3"])
def test_what_is_secret_in_a_uri_stays_out_of_errors_and_labels(scheme: str):
    with pytest.raises(CheckpointError) as caught:
        resolve_weights(f"{scheme}://user:hunter2@host/x.pt?signature=abc", MODEL)
    assert f"cannot fetch the checkpoint {scheme}://***@host/x.pt: " in str(caught.value)
    weights = Weights("file", uri="https://user:hunter2@host/x.pt?signature=abc", sha256="0" * 64)
    for text in (str(caught.value), weights.label, repr(weights)):
        assert "hunter2" not in text
        assert "signature" not in text


def test_published_weights_come_from_the_cache_without_a_network(cache: Path):
    with pytest.raises(CheckpointError, match=r"no published checkpoint of 'hiera_debug', only of sam2\.1_hiera_tiny"):
        resolve_weights("published", MODEL)
    weights = Weights("published", uri="sam2.1_hiera_tiny", sha256="7402e0d8" + "0" * 56)
    assert weights.label == "sam2.1_hiera_tiny.pt sha256 7402e0d8..."
    assert weights.identity["kind"] == "checkpoint"
    assert not cache.exists()


def test_auto_falls_back_to_random_weights_and_says_so_loudly(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING, logger="pipeline"):
        weights = resolve_weights("auto", MODEL)
    assert weights == Weights("random", seed=0)
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("pipeline", "WARNING")
    assert "UNTRAINED" in record.getMessage()
    assert "no published checkpoint of 'hiera_debug'" in record.getMessage()
    assert not cache_folder().exists()


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:9/x.pt",
        "https://host/x.pt",
        "github://org:repo@main/x.pt",
        "simplecache::s3://bucket/x.pt",
        "zip://x::file:///tmp/a.pt",
        "memory://x::http://127.0.0.1:9/a.pt",
        "reference://x.pt",
        "file://host/share/x.pt",
        "s3://bucket/../other/x.pt",
    ],
)
def test_only_object_stores_are_fetched_from_and_nothing_is_asked_before(uri: str, cache: Path):
    with pytest.raises(CheckpointError, match=r"cannot fetch the checkpoint .*: only from s3, gs, .*give its path"):
        resolve_weights(uri, MODEL)
    assert not cache.exists()


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path, checkpoint: Path):
    os.mkfifo(tmp_path / "pipe.pt")
    (tmp_path / "folder.pt").mkdir()
    (tmp_path / "loop.pt").symlink_to(tmp_path / "loop.pt")
    (tmp_path / "device.pt").symlink_to("/dev/zero")
    (tmp_path / "device-in-the-middle.pt").symlink_to(tmp_path / "device.pt")
    for name in ("pipe.pt", "folder.pt", "device.pt", "device-in-the-middle.pt"):
        with pytest.raises(CheckpointError, match=rf"{name} is not a regular file"):
            resolve_weights(str(tmp_path / name), MODEL)
    for path in ("/dev/zero", "../../x"):
        with pytest.raises(CheckpointError, match=r"is not a \.pt, \.pth, \.safetensors file"):
            resolve_weights(path, MODEL)
    for name in ("loop.pt", f"{'x' * 5000}.pt", "../../no/x.pt", "nul\0.pt"):
        with pytest.raises(CheckpointError, match="there is no checkpoint file"):
            resolve_weights(str(tmp_path / name), MODEL)
    # A link to a file is the file: the command is trusted to name what the job may read.
    (tmp_path / "link.pt").symlink_to(checkpoint)
    assert resolve_weights(str(tmp_path / "link.pt"), MODEL).sha256 == sha256_of(checkpoint)


def test_a_pipe_that_took_the_place_of_the_file_is_refused_too(checkpoint: Path):
    weights = resolve_weights(str(checkpoint), MODEL)
    checkpoint.unlink()
    os.mkfifo(checkpoint)
    with pytest.raises(CheckpointError, match="is not a regular file"):
        local_copy(weights)


def test_a_file_too_large_is_refused_before_it_is_read(tmp_path: Path, cache: Path):
    with (tmp_path / "x.pt").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(CheckpointError, match="has 4,294,967,297 bytes; a checkpoint has at most 4,294,967,296"):
        resolve_weights(str(tmp_path / "x.pt"), MODEL)
    with pytest.raises(CheckpointError, match=r"memory://huge/x\.pt has 4,294,967,297 bytes"):
        check_size(MAX_BYTES + 1, "memory://huge/x.pt")
    assert not cache.exists()


def test_a_file_with_the_name_of_a_published_one_is_accepted_with_a_warning(
    checkpoint: Path, caplog: pytest.LogCaptureFixture
):
    named = checkpoint.rename(checkpoint.with_name("sam2.1_hiera_tiny.pt"))
    with caplog.at_level(logging.WARNING, logger="pipeline"):
        assert resolve_weights(str(named), MODEL).sha256 == sha256_of(named)
    assert "has the name of a published checkpoint, but sha256" in caplog.text
