"""SAM 2's video predictor on stored frames: its state as `init_state` leaves it, without video or image encoder."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.errors import FeatureSetError
from pipeline.readers.frames import VideoFrames
from pipeline.readers.predictors import frame_features
from pipeline.readers.row import FeatureRow

if TYPE_CHECKING:
    import torch


class VideoPredictor(Protocol):
    """What of `sam2.sam2_video_predictor.SAM2VideoPredictor` is read."""

    device: Any


class StoredFeatures:
    """What a state's `cached_features` is asked for, read from a feature set; the last frame is kept.

    Args:
        frames: in order of time; the predictor's frame 0 is the first.
        device: where features go.
    """

    def __init__(self, frames: VideoFrames | Sequence[FeatureRow], device: Any) -> None:
        self._frames, self._device = frames, device
        self._last: tuple[int, Any] | None = None

    def get(self, frame_idx: int, _: Any = None) -> "tuple[torch.Tensor, dict[str, Any]]":
        """Pixels, which the predictor passes on and never reads, so one of them; and what `forward_image` returns."""
        import torch

        if self._last is None or self._last[0] != frame_idx:
            features = frame_features(self._frames[frame_idx])
            moved = {
                name: [each.to(self._device) for each in value] if isinstance(value, list) else value.to(self._device)
                for name, value in features.items()
            }
            self._last = frame_idx, (torch.zeros(1, 3, 1, 1, device=self._device), moved)
        found: tuple[torch.Tensor, dict[str, Any]] = self._last[1]
        return found


def video_state(predictor: VideoPredictor, frames: VideoFrames | Sequence[FeatureRow]) -> dict[str, Any]:
    """The `inference_state` of a `SAM2VideoPredictor` for a video whose features are stored.

    Source: `init_state` in sam2/sam2_video_predictor.py. Prompts, in pixels of the video, and masks are then as always.

    Args:
        predictor: of the model whose encoder made the features.
        frames: of `features=decoder`, such as `features.frames("clips/a.mp4")`; read when the predictor comes to them.

    Raises:
        FeatureSetError: there are no frames, or they are not of `features=decoder`.
    """
    if not len(frames):
        raise FeatureSetError("a video without frames has nothing to predict on")
    height, width = frames[0].original_size
    cached = StoredFeatures(frames, predictor.device)
    cached.get(0)  # says what is wrong with the rows, and warms up as init_state does
    by_object = ("point_inputs_per_obj", "mask_inputs_per_obj", "output_dict_per_obj", "temp_output_dict_per_obj")
    return {
        "images": None,
        "num_frames": len(frames),
        "offload_video_to_cpu": True,
        "offload_state_to_cpu": False,
        "video_height": height,
        "video_width": width,
        "device": predictor.device,
        "storage_device": predictor.device,
        "cached_features": cached,
        "constants": {},
        "obj_id_to_idx": OrderedDict(),
        "obj_idx_to_id": OrderedDict(),
        "obj_ids": [],
        "frames_tracked_per_obj": {},
        **{name: {} for name in by_object},
    }
