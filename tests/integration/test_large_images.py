"""Tiles and frames from command to sealed feature set: features are the encoder's own on the crop and the frame."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import pipeline
from pipeline.preprocessing.decode import decode

pytestmark = pytest.mark.cluster

TOY = ["model=hiera_debug", "model.checkpoint=random", "run.audit_images=0"]


def expect_equal(features, pixels: dict[str, np.ndarray]) -> None:
    """The stored levels against the encoder on these pixels."""
    precision = features.metadata["settings"]["precision"]
    encoder = pipeline.build_encoder("hiera_debug", checkpoint="random", precision=precision)
    for image_id, pixels_HWC in pixels.items():
        with torch.inference_mode():
            own = encoder(pipeline.preprocess(np.ascontiguousarray(pixels_HWC), side_px=128)[None])["backbone_fpn"]
        for stored, level in zip(features[image_id].backbone_fpn, own, strict=True):
            error = torch.linalg.norm(stored.float() - level[0].float()) / torch.linalg.norm(level[0].float())
            assert error < 1e-3, image_id


def test_tiles_of_a_large_image_and_frames_of_a_moving_one(start_on_head, tmp_path: Path):
    folder = tmp_path / "photos"
    folder.mkdir()
    rows, columns = np.mgrid[0:1200, 0:1500]
    large = np.stack([rows // 5, columns // 6, (rows * columns) // 7001], -1).astype(np.uint8)
    Image.fromarray(large).save(folder / "large.png")
    frames = [Image.fromarray(large[top : top + 90, 700:800]) for top in (0, 500, 1000)]
    frames[0].save(folder / "pages.tif", save_all=True, append_images=frames[1:])

    tiles = ["preprocess=tiles", "preprocess.tile_px=512", "preprocess.overlap_px=64"]
    done = start_on_head(f"source.uri={folder}", *TOY, *tiles, f"sink.uri={tmp_path / 'tiles'}").finish()
    assert done.code == 0, str(done)
    features = pipeline.open_features(tmp_path / "tiles")
    found = features.tiles("large.png")
    assert len(found) == 12
    assert len(features) == 13, "and one tile of the first page"
    (corner,) = features.tiles("large.png", (1499, 1199, 1, 1))
    row = features[corner]
    assert (row.box, row.scale) == ((988, 688, 512, 512), (0.25, 0.25))
    whole = decode((folder / "large.png").read_bytes())
    boxes = {each: features[each].box for each in (found[0], found[5], corner)}
    expect_equal(features, {each: whole[y : y + h, x : x + w] for each, (x, y, w, h) in boxes.items()})

    every = [*TOY, "preprocess.frames=all", f"sink.uri={tmp_path / 'frames'}"]
    done = start_on_head(f"source.uri={folder}", *every).finish()
    assert done.code == 0, str(done)
    features = pipeline.open_features(tmp_path / "frames")
    assert features.image_ids == ["large.png", *(f"pages.tif#frame={number}" for number in range(3))]
    data = (folder / "pages.tif").read_bytes()
    expect_equal(features, {f"pages.tif#frame={number}": decode(data, frame=number) for number in range(3)})
