"""SAM 2's own predictor, once given an image and once filled from a feature set; prints both answers' IoUs as JSON.

Run by test_predictors.py with SAM 2's package on the path: CHECKPOINT FEATURES IMAGE_ID IMAGE
"""

# ruff: noqa: SLF001  as set_image has them

import json
import sys

import numpy as np
import torch
from PIL import Image
from sam2.build_sam import build_sam2
from sam2.sam2_image_predictor import SAM2ImagePredictor

import pipeline
from pipeline.readers.predictors import fill_predictor, frame_features


def main(checkpoint: str, uri: str, image_id: str, image: str) -> None:
    model = build_sam2("configs/sam2.1/sam2.1_hiera_t.yaml", None, device="cpu")
    # The checkpoint leaves out what videos alone need.
    unexpected = model.load_state_dict(torch.load(checkpoint)["model"], strict=False).unexpected_keys
    row = pipeline.open_features(uri)[image_id]
    given, filled, batch = (SAM2ImagePredictor(model) for _ in range(3))
    pixels = np.asarray(Image.open(image).convert("RGB"))
    given.set_image(pixels)
    fill_predictor(filled, row)
    fill_predictor(batch, [row, row])
    height, width = row.original_size
    overlaps, batched = [], []
    for point in ((width // 2, height // 3), (width // 4, height // 2), (9 * width // 10, height // 10)):
        prompt = {"point_coords": np.array([point]), "point_labels": np.array([1])}
        expected, found = given.predict(**prompt)[0] > 0, filled.predict(**prompt)[0] > 0
        overlaps += [float((a & b).sum() / max(1, (a | b).sum())) for a, b in zip(expected, found, strict=True)]
        both, _, _ = batch.predict_batch([prompt["point_coords"]] * 2, [prompt["point_labels"]] * 2)
        batched += [bool(((masks > 0) == found).all()) for masks in both]
    with torch.inference_mode():
        frame = model.forward_image(given._transforms(pixels)[None])
    ours = frame_features(row)
    errors = [
        float((a - b).norm() / b.norm())
        for name in ("backbone_fpn", "vision_pos_enc")
        for a, b in zip(ours[name], frame[name], strict=True)
    ]
    json.dump({"unexpected": unexpected, "overlaps": overlaps, "batched": batched, "frame errors": errors}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
