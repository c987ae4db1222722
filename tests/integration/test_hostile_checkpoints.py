"""Checkpoints that try to run something, to fill memory or to pass for another (X13 to X17): the job ends with 64."""

import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from pipeline.errors import CheckpointError
from pipeline.model.build import build_encoder, check_checkpoint, load_encoder_config
from pipeline.model.weights import local_copy, resolve_weights

REPOSITORY = Path(__file__).resolve().parents[2]
QKV = "image_encoder.trunk.blocks.0.attn.qkv.weight"


class Payload:
    """Makes the canary when unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return os.mkdir, (str(self.canary),)


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    encoder = build_encoder("hiera_debug", checkpoint="random")
    return {f"image_encoder.{name}": value for name, value in encoder.state_dict().items()}


def attempt(path: Path | str) -> str:
    """What a job does with a checkpoint before it reads an image; the message with which it is refused."""
    with pytest.raises(CheckpointError) as caught:
        check_checkpoint(load_encoder_config("hiera_debug").tree, local_copy(resolve_weights(str(path), "hiera_debug")))
    assert caught.value.exit_code == 64
    assert "\n" not in str(caught.value)
    return str(caught.value)


def embed(checkpoint: Path, sink: Path) -> subprocess.CompletedProcess[str]:
    overrides = ["source=sample", "model=hiera_debug", f"model.checkpoint={checkpoint}", f"sink.uri={sink}"]
    command = [sys.executable, "jobs/embed.py", *overrides]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)


def test_a_job_with_a_checkpoint_that_holds_code_ends_with_64_and_the_code_is_not_run(tmp_path: Path):
    torch.save({"model": Payload(tmp_path / "canary")}, tmp_path / "x.pt")
    done = embed(tmp_path / "x.pt", tmp_path / "out")
    assert (done.returncode, done.stdout) == (64, "")
    assert "holds code, which is never run (posix mkdir)" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "canary").exists()
    assert not (tmp_path / "out" / "featureset.json").exists()


def test_a_job_with_a_pipe_for_a_checkpoint_ends_with_64_at_once(tmp_path: Path):
    os.mkfifo(tmp_path / "x.pt")
    done = embed(tmp_path / "x.pt", tmp_path / "out")
    assert done.returncode == 64
    assert "x.pt is not a regular file" in done.stderr


def test_a_bare_pickle_is_refused_by_kind_and_not_run(tmp_path: Path):
    for suffix in (".pt", ".pth", ".safetensors"):
        (tmp_path / f"x{suffix}").write_bytes(pickle.dumps(Payload(tmp_path / "canary"), protocol=2))
        assert "is damaged" in attempt(tmp_path / f"x{suffix}") or suffix != ".safetensors"
        attempt(tmp_path / f"x{suffix}")
    assert not (tmp_path / "canary").exists()


def test_programs_and_bombs_are_refused_by_kind(tmp_path: Path, weights: dict[str, torch.Tensor]):
    module = torch.nn.Linear(2, 2)
    torch.jit.script(module).save(str(tmp_path / "script.pt"))
    assert "is a TorchScript program" in attempt(tmp_path / "script.pt")
    torch.export.save(torch.export.export(module, (torch.zeros(1, 2),)), tmp_path / "program.pt2")
    assert "is not a .pt, .pth, .safetensors file" in attempt(tmp_path / "program.pt2")
    (tmp_path / "program.pt2").rename(tmp_path / "program.pt")
    assert "is an exported program (.pt2)" in attempt(tmp_path / "program.pt")
    torch.save({"model": weights}, tmp_path / "x.pt")
    with (
        zipfile.ZipFile(tmp_path / "x.pt") as old,
        zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, bytes(200 << 20) if name == "x/data/0" else old.read(name))
    assert (tmp_path / "b.pt").stat().st_size * 1000 > 200 << 20 > (tmp_path / "b.pt").stat().st_size * 100
    assert "compressed" in attempt(tmp_path / "b.pt")


@pytest.mark.parametrize("place", [0.3, 0.6, 0.9])
def test_a_flipped_byte_and_a_cut_are_found_without_a_pinned_hash(tmp_path: Path, weights, place: float):
    torch.save({"model": weights}, tmp_path / "x.pt")
    whole = (tmp_path / "x.pt").read_bytes()
    at = int(len(whole) * place)
    (tmp_path / "x.pt").write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    assert "x.pt is damaged" in attempt(tmp_path / "x.pt")
    (tmp_path / "x.pt").write_bytes(whole[:at])
    assert "x.pt is damaged" in attempt(tmp_path / "x.pt")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w: {**w, QKV: torch.full_like(w[QKV], float("nan"))}, "values that are not finite"),
        (lambda w: {name: value for name, value in w.items() if name != QKV}, "1 missing"),
        (lambda w: {**w, "image_encoder.trunk.extra": torch.zeros(1)}, "1 unexpected"),
        (lambda w: {**w, QKV: w[QKV][1:]}, "1 of another shape"),
        (lambda w: {**w, QKV: w[QKV].to_sparse()}, "not dense"),
        (lambda w: {**w, QKV: w[QKV].to("meta")}, "not dense"),
        (lambda w: {**w, QKV: w[QKV].to(torch.float8_e5m2)}, "not dense"),
        (lambda w: {**w, QKV: w[QKV].to(torch.complex64)}, "ComplexFloatStorage"),
        (lambda w: {**w, QKV: w[QKV].int()}, "floating point weights are needed"),
        (lambda w: {**w, "other.part": torch.eye(3).to_sparse()}, "not dense"),
    ],
    ids=["nan", "missing", "extra", "shape", "sparse", "meta", "float8", "complex", "integers", "sparse elsewhere"],
)
def test_weights_that_are_not_those_of_the_model_are_refused(tmp_path: Path, weights, change, said: str):
    torch.save({"model": change(weights)}, tmp_path / "x.pt")
    assert said in attempt(tmp_path / "x.pt")
