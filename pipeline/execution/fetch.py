"""The first step of every unit: its images' bytes to pixels; a bad image becomes a quarantine row here."""

import numpy as np
import pyarrow as pa
import torch

from pipeline.errors import ImageError
from pipeline.execution.blocks import DecodedImage, DecodedUnit
from pipeline.featureset.records import QuarantineRow
from pipeline.observability.timing import Stopwatch
from pipeline.preprocessing.decode import decode
from pipeline.preprocessing.transform import normalise
from pipeline.storage import read_uri


class FetchAndDecode:
    """One unit of the plan to one block of pixels; runs on CPUs, anywhere in the cluster.

    Args:
        side_px: side of the encoder's square input.
    """

    def __init__(self, *, side_px: int) -> None:
        self._side_px = side_px

    def __call__(self, block: pa.Table) -> pa.Table:
        """Reads and decodes the images of the unit in the block's one row."""
        torch.set_num_threads(1)  # many of these run side by side; the cores belong to the encoder
        row = block.to_pylist()[0]
        watch = Stopwatch()
        images, pixels, quarantine = [], [], []
        for image_id, uri in zip(row["image_id"], row["uri"], strict=True):
            try:
                image, pixels_CHW = self._one(image_id, uri, watch)
            except ImageError as error:
                quarantine.append(QuarantineRow.of(image_id, uri, error))
            else:
                images.append(image)
                pixels.append(pixels_CHW)
        stacked = np.stack(pixels) if pixels else np.empty((0, 3, self._side_px, self._side_px), np.float32)
        return DecodedUnit(row["unit"], images, stacked, quarantine, watch.seconds).to_block()

    def _one(self, image_id: str, uri: str, watch: Stopwatch) -> tuple[DecodedImage, np.ndarray]:
        with watch.step("fetch"):
            data = _fetch(uri)
        with watch.step("decode"):
            pixels_HWC = decode(data)
        with watch.step("resize"):
            pixels_CHW = _resize(pixels_HWC, self._side_px)
        height, width = pixels_HWC.shape[:2]
        return DecodedImage(image_id, uri, height, width), pixels_CHW


def _resize(pixels_HWC: np.ndarray, side_px: int) -> np.ndarray:
    try:
        return normalise(pixels_HWC, side_px).numpy()
    except (RuntimeError, MemoryError) as error:  # torch's word for an allocation that failed is RuntimeError
        height, width = pixels_HWC.shape[:2]
        message = f"{height} x {width} pixels could not be resized: {error}"
        raise ImageError(message, stage="decode", error_type="ResizeFailed", error_class="transient") from error


def _fetch(uri: str) -> bytes:
    try:
        return read_uri(uri)
    except (TimeoutError, ConnectionError) as error:
        kind = type(error).__name__
        raise ImageError(str(error), stage="fetch", error_type=kind, error_class="transient") from error
    except OSError as error:
        raise ImageError(error.strerror or str(error), stage="fetch", error_type=type(error).__name__) from error
