"""SAM 2's video predictor at toy size, once given frames and once stored features; prints how far masks are apart.

Run by tests/integration/test_videos.py with SAM 2's package on the path: CHECKPOINT FEATURES VIDEO_ID VIDEO
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from sam2.build_sam import build_sam2_video_predictor
from sam2.sam2_video_predictor import SAM2VideoPredictor

import pipeline
from pipeline.preprocessing.served_file import ServedFile
from pipeline.preprocessing.transform import normalise
from pipeline.preprocessing.video import frame_times
from pipeline.preprocessing.video_frames import FrameReader
from pipeline.preprocessing.video_pixels import rgb_of_frame
from pipeline.readers.video_predictor import video_state

SIDE_PX = 128
OF_HIERA_DEBUG = [
    "++model.image_encoder.trunk.embed_dim=16",
    "++model.image_encoder.trunk.stages=[1,1,2,1]",
    "++model.image_encoder.trunk.global_att_blocks=[3]",
    "++model.image_encoder.neck.backbone_channel_list=[128,64,32,16]",
    f"++model.image_size={SIDE_PX}",
    "++model.memory_attention.layer.self_attention.feat_sizes=[8,8]",
    "++model.memory_attention.layer.cross_attention.feat_sizes=[8,8]",
]


def main(checkpoint: str, uri: str, video: str, path: str) -> None:
    torch.manual_seed(0)  # what videos alone need is not in the checkpoint
    predictor = build_sam2_video_predictor(
        "configs/sam2.1/sam2.1_hiera_t.yaml",
        None,
        device="cpu",
        hydra_overrides_extra=OF_HIERA_DEBUG,
        apply_postprocessing=False,
    )
    unexpected = predictor.load_state_dict(torch.load(checkpoint)["model"], strict=False).unexpected_keys
    with torch.no_grad():  # by chance these weights see no object anywhere, and masks would be one constant
        predictor.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(100.0)
    frames = pipeline.open_features(uri).frames(video)
    pixels = [rgb for number, rgb in enumerate(_pixels(Path(path).read_bytes())) if number in frames.numbers]
    images = torch.stack([normalise(each, SIDE_PX) for each in pixels])
    # Memories are kept in bf16, which autocast would make of everything else too, and drown what is to be seen.
    predictor.memory_attention.register_forward_pre_hook(_in_float32, with_kwargs=True)
    filled = video_state(predictor, frames)
    given = {**video_state(predictor, frames), "images": images, "cached_features": {}}
    expected, found = _masks(predictor, given), _masks(predictor, filled)
    errors = [float((a - b).abs().max() / a.abs().max()) for a, b in zip(expected, found, strict=True)]
    spreads = [float(each.std() / each.abs().max()) for each in expected]
    said = {"unexpected": unexpected, "errors": errors, "spreads": spreads}
    json.dump(said, sys.stdout)


def _pixels(data: bytes) -> list[np.ndarray]:
    """All frames, in order."""
    reader = FrameReader(ServedFile("key", len(data), lambda start, end: data[start:end]))
    return [rgb_of_frame(reader.frame(pts)) for pts in frame_times(data)["pts"]]


def _in_float32(_: torch.nn.Module, given: tuple, named: dict) -> tuple[tuple, dict]:
    return given, {key: value.float() if isinstance(value, torch.Tensor) else value for key, value in named.items()}


@torch.inference_mode()
def _masks(predictor: SAM2VideoPredictor, state: dict) -> list[torch.Tensor]:
    """Mask logits of every frame, for a click in the first one and another object in the last one."""
    predictor.add_new_points_or_box(state, 0, 1, points=np.array([[20.0, 20.0]]), labels=np.array([1]))
    last = state["num_frames"] - 1
    predictor.add_new_points_or_box(state, last, 2, box=np.array([10.0, 8.0, 40.0, 40.0]))
    forward = [masks.clone() for _, _, masks in predictor.propagate_in_video(state, start_frame_idx=0)]
    back = [masks.clone() for _, _, masks in predictor.propagate_in_video(state, start_frame_idx=last, reverse=True)]
    return [*forward, *back]


if __name__ == "__main__":
    main(*sys.argv[1:])
