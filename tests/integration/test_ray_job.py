"""The command people use on a cluster: `ray job submit --working-dir . -- python jobs/embed.py ...`."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

import pipeline

REPOSITORY = Path(__file__).resolve().parents[2]

CANARY = "cAnArY0deadbeef"
# Names that some systems take for one: composed and decomposed, large and small, and alike up to a late place.
ALIKE = ["caf\u00e9.jpg", "cafe\u0301.jpg", "A.jpg", "a.jpg", f"{'x' * 240}1.jpg", f"{'x' * 240}2.jpg"]

pytestmark = pytest.mark.cluster


def submit(ray_head: dict[str, str], *overrides: str) -> subprocess.CompletedProcess[str]:
    """Submits the job with the working directory and waits for it."""
    ray = shutil.which("ray", path=str(Path(sys.executable).parent))
    assert ray
    command = [ray, "job", "submit", "--working-dir", ".", "--", "python", "jobs/embed.py", *overrides]
    environment = {**os.environ, **ray_head, "AWS_SECRET_ACCESS_KEY": f"{CANARY}/secret", "AWS_SESSION_TOKEN": CANARY}
    until = time.monotonic() + 90
    while True:
        done = subprocess.run(
            command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=240, check=False
        )
        is_young = "No available agent" in done.stderr  # a head that has just come up takes no jobs yet
        if not is_young or time.monotonic() > until:
            return done


def test_a_submitted_job_embeds_with_a_published_configuration_and_checkpoint(
    ray_head, expect_features, make_photos, tmp_path
):
    folder, sink = tmp_path / "photos", tmp_path / "features"
    names = make_photos(folder, 6)
    for number, name in enumerate(ALIKE):
        (folder / names[number]).rename(folder / name)
    names[: len(ALIKE)] = ALIKE
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
        "execution.ray_address=auto",  # not of this machine alone for all we know: the cluster's token is asked for
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"sealed run 1 of {sink}" in done.stdout
    expect_features(sink, folder, names)

    refused = submit(ray_head, "source=sample", "model.checkpoint=random", "sink.uri=outputs/features")
    assert refused.returncode == 1
    assert "sink.uri=outputs/features is relative" in refused.stdout

    status, told = ask(ray_head, "GET", ray_head["RAY_AUTH_TOKEN"])
    assert status == 200
    assert f"sink.uri={sink}" in told.decode(), "whoever may use the cluster sees command lines"
    assert CANARY not in told.decode()
    assert ray_head["RAY_AUTH_TOKEN"] not in told.decode()


def ask(ray_head: dict[str, str], method: str, token: str = "", **headers: str) -> tuple[int, bytes]:
    """Status and body of a request about jobs; a POST would submit one."""
    bearer = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(  # noqa: S310  of a server of our own
        f"{ray_head['RAY_API_SERVER_ADDRESS']}/api/jobs/",
        method=method,
        data=json.dumps({"entrypoint": "touch pwned"}).encode() if method == "POST" else None,
        headers={"Content-Type": "application/json", **bearer, **headers},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_nobody_submits_a_job_without_the_token_and_no_page_of_a_browser_with_it(ray_head):
    token, before = ray_head["RAY_AUTH_TOKEN"], ask(ray_head, "GET", ray_head["RAY_AUTH_TOKEN"])
    assert before[0] == 200
    assert ask(ray_head, "POST")[0] == 401
    assert ask(ray_head, "POST", "0" * 64)[0] == 403
    assert ask(ray_head, "GET")[0] == 401
    assert ask(ray_head, "POST", Host="evil.example")[0] == 401, "a page that made its name lead here has no token"
    page = {"Origin": "http://evil.example", "User-Agent": "Mozilla/5.0"}
    assert ask(ray_head, "POST", **page)[0] == 401
    assert ask(ray_head, "POST", token, **page)[0] == 405
    assert len(json.loads(ask(ray_head, "GET", token)[1])) == len(json.loads(before[1])), "none of them was taken"


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
