"""Stored features in the form that predictors hold them in: no image, no image encoder."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.readers.row import FeatureRow

if TYPE_CHECKING:
    import torch


class ImagePredictor(Protocol):
    """What of `sam2.sam2_image_predictor.SAM2ImagePredictor` is filled: all that its `predict` reads."""

    device: Any
    _features: Any
    _orig_hw: Any
    _is_image_set: bool
    _is_batch: bool

    def reset_predictor(self) -> None:
        """Forgets the image it holds."""
        ...


def image_embeddings(*rows: FeatureRow) -> "list[torch.Tensor]":
    """The `image_embeddings` of transformers' `Sam2Model` for a batch of images.

    Returns:
        (B, 32, 256, 256), (B, 64, 128, 128) and (B, 256, 64, 64) at 1024 px, float32, `no_mem_embed` added.

    Raises:
        FeatureSetError: the rows are not of `features=decoder`.
    """
    import torch

    return [torch.stack(maps) for maps in zip(*(row.image_embeddings for row in rows), strict=True)]


def fill_predictor(predictor: ImagePredictor, rows: FeatureRow | Sequence[FeatureRow]) -> None:
    """Gives a `SAM2ImagePredictor` what `set_image` would compute: one row, or several as `set_image_batch` does.

    Source: sam2/sam2_image_predictor.py; prompts are then given in pixels of the original image, as always.

    Args:
        predictor: of the model whose encoder made the features.
        rows: of `features=decoder`.

    Raises:
        FeatureSetError: the rows are not of `features=decoder`.
    """
    batch = [rows] if isinstance(rows, FeatureRow) else list(rows)
    *high_res, coarsest = [maps.to(predictor.device) for maps in image_embeddings(*batch)]
    predictor.reset_predictor()
    predictor._features = {"image_embed": coarsest, "high_res_feats": high_res}  # noqa: SLF001
    predictor._orig_hw = [row.original_size for row in batch]  # noqa: SLF001
    predictor._is_batch = not isinstance(rows, FeatureRow)  # noqa: SLF001
    predictor._is_image_set = True  # noqa: SLF001


def frame_features(row: FeatureRow) -> "dict[str, Any]":
    """What SAM 2's `forward_image` returns, as `SAM2VideoPredictor` keeps it of a frame: `no_mem_embed` is not added.

    Returns:
        `backbone_fpn` and `vision_pos_enc`, three maps (1, C, H, W) each, float32, and `vision_features`, the last of
        the first. With the frame's pixels it makes an entry of the predictor's `cached_features`.

    Raises:
        FeatureSetError: the row is not of `features=decoder`.
    """
    _ = row.image_embeddings  # says what is wrong with the row
    levels = [level.float()[None] for level in row.backbone_fpn]
    return {
        "vision_features": levels[-1],
        "vision_pos_enc": [encoding[None] for encoding in row.vision_pos_enc],
        "backbone_fpn": levels,
    }
