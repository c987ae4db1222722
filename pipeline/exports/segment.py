"""One mask from stored features: what lies at a point of an image, as two pictures. No image encoder runs."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from pipeline.errors import ConfigError
from pipeline.exports.local_output import replacing
from pipeline.exports.mask_decoder import MaskDecoder, Point
from pipeline.exports.new_image import weights_of
from pipeline.exports.picture import NO_PICTURE, picture
from pipeline.featureset.schema import PART
from pipeline.model.weights import local_copy
from pipeline.readers.feature_set import open_features
from pipeline.readers.row import FeatureRow
from pipeline.redaction import shown

_MASK_COLOUR, _ON, _BESIDE = (30, 144, 255), (40, 200, 60), (220, 30, 30)
_GREY = 128


@dataclass(frozen=True)
class Segmented:
    """Where the pictures are, and what was found.

    Attributes:
        mask: a PNG of the image's size, 255 on the mask and 0 beside it.
        overlay: a PNG of the image with the mask and the points on it.
        share: of the image's pixels that the mask has.
        iou: the decoder's own estimate of how good the mask is.
        seconds: from the features to the mask.
    """

    mask: Path
    overlay: Path
    share: float
    iou: float
    seconds: float

    def text(self) -> str:
        """Three lines for people."""
        found = f"mask of {self.share:.1%} of the image, predicted IoU {self.iou:.3f}, in {self.seconds:.2f} s"
        return f"{found}\n  mask     {shown(self.mask)}\n  overlay  {shown(self.overlay)}"


def segment(
    uri: str,
    image_id: str,
    *,
    points: Sequence[Point],
    background: Sequence[Point] = (),
    checkpoint: str | None = None,
    output: Path,
) -> Segmented:
    """Writes the best mask at some points of an image of a feature set.

    Args:
        uri: of the set, of `features=decoder`.
        image_id: of the image.
        points: (x, y) on what to find, in pixels of the original.
        background: (x, y) beside it.
        checkpoint: of the whole model that the features were made with.
        output: path without ending; `.png` and `_overlay.png` are added.

    Raises:
        ConfigError: no points, one outside the image, or another checkpoint than the features'.
        CheckpointError: the checkpoint cannot be had, or has no mask decoder.
        ImageNotFoundError: no such image.
        FeatureSetError: the set is not of `features=decoder`, or damaged.
        SinkError, AccessDeniedError: the pictures cannot be written.
    """
    if not points:
        raise ConfigError("point is not set: say where, in pixels of the image, for example point=[320,240]")
    features = open_features(uri)
    settings = features.metadata["settings"]
    row = features[image_id]
    _ = row.image_embeddings  # before a checkpoint is asked for: says what is wrong with the set
    if settings["weights"]["kind"] == "random":
        raise ConfigError(f"{features.uri} was made with random weights: no mask decoder goes with that")
    decoder = MaskDecoder(local_copy(weights_of(settings, checkpoint)), side_px=settings["preprocessing"]["side_px"])
    began = time.monotonic()
    found = decoder.predict(row, points, background=background)
    seconds, mask = time.monotonic() - began, found.masks[0]
    image = Image.fromarray(np.where(mask, 255, 0).astype(np.uint8))
    paths = output.with_name(f"{output.name}.png"), output.with_name(f"{output.name}_overlay.png")
    with replacing(paths[0]) as staged:
        image.save(staged, format="PNG")
    with replacing(paths[1]) as staged:
        _overlay(row, mask, points=points, background=background).save(staged, format="PNG")
    return Segmented(*paths, share=float(mask.mean()), iou=float(found.ious[0]), seconds=seconds)


def _overlay(row: FeatureRow, mask: np.ndarray, *, points: Sequence[Point], background: Sequence[Point]) -> Image.Image:
    """The image, grey where it cannot be read any more or is a tile, with the mask in colour and the points as dots."""
    pixels = _pixels(row).astype(np.float32)
    pixels[mask] = 0.5 * pixels[mask] + 0.5 * np.array(_MASK_COLOUR, np.float32)
    image = Image.fromarray(pixels.astype(np.uint8))
    draw, radius = ImageDraw.Draw(image), max(3, max(image.size) // 150)
    for dots, colour in ((points, _ON), (background, _BESIDE)):
        for x, y in dots:
            corners = (x - radius, y - radius, x + radius, y + radius)
            draw.ellipse(corners, fill=colour, outline=(255, 255, 255), width=max(1, radius // 3))
    return image


def _pixels(row: FeatureRow) -> np.ndarray:
    try:
        pixels = picture(row.uri, row.extra.get(PART.name))
    except NO_PICTURE:
        pixels = None
    if pixels is None or pixels.shape[:2] != row.original_size:
        return np.full((*row.original_size, 3), _GREY, np.uint8)
    return pixels
