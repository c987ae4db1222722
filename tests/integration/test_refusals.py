"""A command that makes no sense ends at once: one clear line, the right exit code, no traceback, nothing written."""

import pytest
import torch

import pipeline


@pytest.fixture
def small_checkpoint(tmp_path):
    """A checkpoint of hiera_debug in the published form."""
    encoder = pipeline.build_encoder("hiera_debug", checkpoint="random")
    weights = {f"image_encoder.{name}": value for name, value in encoder.state_dict().items()}
    torch.save({"model": weights}, tmp_path / "debug.pt")
    return tmp_path / "debug.pt"


@pytest.fixture
def bad_list(tmp_path):
    """A list of images whose second row names none."""
    (tmp_path / "list.csv").write_text('uri\na.jpg\n""\n')
    return tmp_path / "list.csv"


@pytest.mark.parametrize(
    ("overrides", "code", "said"),
    [
        (["source.uri={tmp}/nowhere", "model.checkpoint=random"], 64, "there is no folder {tmp}/nowhere"),
        (["source.uri={tmp}", "model.checkpoint=random"], 64, "no images in"),
        (["source=manifest", "source.uri={list}", "model.checkpoint=random"], 65, "row 2 has no uri"),
        (["source=sample"], 64, "model.checkpoint is not set"),
        (["source=sample", "model.checkpoint={tmp}/no.pt"], 64, "there is no checkpoint file {tmp}/no.pt"),
        (["source=sample", "model.checkpoint={checkpoint}"], 64, "debug.pt"),
        (["source=sample", "model.checkpoint=random", "sink.uri={checkpoint}/deeper"], 73, "debug.pt is not a folder"),
        (
            ["source=sample", "model.checkpoint=random", "sink.uri=memory://bucket/x"],
            64,
            "memory: is no scheme that is read",
        ),
        (["source=sample", "model.checkpoint=random", "preprocess.side_px=100"], 64, "100 x 100"),
    ],
)
def test_a_refused_command_says_why_in_one_line(
    start_locally, small_checkpoint, bad_list, tmp_path, overrides, code, said
):
    fill = {"tmp": str(tmp_path), "checkpoint": str(small_checkpoint), "list": str(bad_list)}
    sink = tmp_path / "features"
    done = start_locally(f"sink.uri={sink}", *(override.format(**fill) for override in overrides)).finish()
    assert done.code == code, str(done)
    assert said.format(**fill) in done.err, str(done)
    assert done.err.startswith("error: "), str(done)
    assert len(done.err.strip().splitlines()) == 1, str(done)
    assert "Traceback" not in done.err + done.out
    assert not (sink / "featureset.json").exists()
