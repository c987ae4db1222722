"""A large image in a whole run: each tile has the features of its crop, and a box is covered by the right tiles."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import pipeline
from pipeline.featureset import catalog
from pipeline.storage.folder import Folder

TOY = ["model=hiera_debug", "model.checkpoint=random", "run.audit_images=0", "execution.images_per_unit=5"]

pytestmark = pytest.mark.cluster


def test_tiles_of_a_large_image_have_the_features_of_its_crops(start_on_head, photographs, tmp_path: Path):
    folder, sink = tmp_path / "images", tmp_path / "features"
    folder.mkdir()
    with Image.open(photographs["retina.jpg"]) as image:
        photo = image.convert("RGB").resize((3000, 2500))
    photo.save(folder / "aerial.tif")
    (folder / "cut.png").write_bytes(b"\x89PNG and no more")
    done = start_on_head(f"source.uri={folder}", "preprocess=tiles", *TOY, f"sink.uri={sink}").finish()
    assert done.code == 0, str(done)
    assert "13 planned = 12 embedded + 1 quarantined" in done.out

    features = pipeline.open_features(sink)
    precision = catalog.feature_set_record(Folder(sink)).settings["precision"]
    encoder = pipeline.build_encoder("hiera_debug", checkpoint="random", precision=precision)
    covering = features.tiles("aerial.tif", (1100, 1100, 800, 200))
    assert [features[each].box[:2] for each in covering] == [(896, 896), (1792, 896)]
    for image_id in (covering[0], features.tiles("aerial.tif")[-1]):
        row = features[image_id]
        left, top, width, height = row.box
        assert (row.original_size, row.scale) == ((1024, 1024), (0.125, 0.125))
        crop = np.asarray(photo)[top : top + height, left : left + width]
        with torch.inference_mode():
            expected = encoder(pipeline.preprocess(crop, side_px=128)[None])["backbone_fpn"]
        for stored, own in zip(row.backbone_fpn, expected, strict=True):
            error = torch.linalg.norm(stored.float() - own[0].float()) / torch.linalg.norm(own[0].float())
            assert error < 1e-3, f"{image_id}: {error:.2e} is more than float16 makes"
    assert features.quarantine["image_id"].to_pylist() == ["cut.png"]

    again = start_on_head(f"source.uri={folder}", "preprocess=tiles", *TOY, f"sink.uri={sink}").finish()
    assert again.out.startswith("nothing to do"), str(again)
