"""The command people use on a cluster: `ray job submit --working-dir . -- python jobs/embed.py ...`."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

import pipeline

REPOSITORY = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.cluster


def submit(ray_head: dict[str, str], *overrides: str) -> subprocess.CompletedProcess[str]:
    """Submits the job with the working directory and waits for it."""
    ray = shutil.which("ray", path=str(Path(sys.executable).parent))
    assert ray
    command = [ray, "job", "submit", "--working-dir", ".", "--", "python", "jobs/embed.py", *overrides]
    environment = {**os.environ, **ray_head}
    return subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=240, check=False
    )


def test_a_submitted_job_embeds_with_a_published_configuration_and_checkpoint(
    ray_head, expect_features, make_photos, tmp_path
):
    folder, sink = tmp_path / "photos", tmp_path / "features"
    names = make_photos(folder, 6)
    encoder = pipeline.build_encoder("hiera_debug", checkpoint="random")
    weights = {f"image_encoder.{name}": value for name, value in encoder.state_dict().items()}
    torch.save({"model": {**weights, "no_mem_embed": torch.zeros(1, 1, 256)}}, tmp_path / "debug.pt")
    OmegaConf.save(published_form(), tmp_path / "debug_model.yaml")

    done = submit(
        ray_head,
        f"source.uri={folder}",
        f"sink.uri={sink}",
        f"model.config={tmp_path}/debug_model.yaml",
        f"model.checkpoint={tmp_path}/debug.pt",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"sealed run 1 of {sink}" in done.stdout
    expect_features(sink, folder, names)

    refused = submit(ray_head, "source=sample", "model.checkpoint=random", "sink.uri=outputs/features")
    assert refused.returncode == 1
    assert "sink.uri=outputs/features is relative" in refused.stdout


def published_form() -> dict[str, object]:
    """hiera_debug as SAM 2 would publish it: a full model with targets of its own package."""
    tree = OmegaConf.to_container(OmegaConf.load(REPOSITORY / "configs/model/hiera_debug.yaml"))
    homes = {
        "pipeline.model.image_encoder": "sam2.modeling.backbones.image_encoder",
        "pipeline.model.fpn": "sam2.modeling.backbones.image_encoder",
        "pipeline.model.hiera": "sam2.modeling.backbones.hieradet",
        "pipeline.model.position_encoding": "sam2.modeling.position_encoding",
    }

    def renamed(node: object) -> object:
        if not isinstance(node, dict):
            return node
        out = {key: renamed(value) for key, value in node.items()}
        if "_target_" in out:
            home, _, name = out["_target_"].rpartition(".")
            out["_target_"] = f"{homes[home]}.{name}"
        return out

    memory = {"_target_": "sam2.modeling.memory_encoder.MemoryEncoder", "out_dim": 64}
    model = {"_target_": "sam2.modeling.sam2_base.SAM2Base", "image_encoder": renamed(tree), "memory_encoder": memory}
    return {"model": {**model, "image_size": 128}}
