"""A decoded frame to RGB pixels, by the matrix and range that its stream names, upright as its display matrix says."""

import struct
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

_UNNAMED = 2  # AVCOL_SPC_UNSPECIFIED
_HD_LINES = 720


def rgb_of_frame(frame: "VideoFrame") -> np.ndarray:
    """The (height, width, 3) uint8 pixels of a frame as a viewer shows them.

    The matrix is the stream's own (BT.601, BT.709, BT.2020); where it names none, BT.709 from 720 lines on, else
    BT.601. Limited and full range come out as 0 to 255; more than 8 bits are scaled and rounded; alpha is left out.
    Primaries and transfer curves stay as they are: HDR is not tone-mapped. Chroma is interpolated, which with exact
    rounding takes 67 ms instead of 7 for 1920 x 1080, and is off by at most one level where shortcuts are by three.
    """
    from av.video.reformatter import Colorspace, Interpolation

    exactly = Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.BITEXACT
    unnamed = Colorspace.ITU709 if frame.height >= _HD_LINES else Colorspace.ITU601
    pixels_HWC = frame.reformat(
        format="rgb24",
        src_colorspace=unnamed if frame.colorspace == _UNNAMED else None,
        interpolation=Interpolation.BILINEAR | exactly,
        threads=1,
    ).to_ndarray()
    return _upright(pixels_HWC, _display_matrix(frame))


def _display_matrix(frame: "VideoFrame") -> tuple[int, int, int, int]:
    """How a step to the right and a step down are shown: (right, down) of the first, then of the second."""
    from av.sidedata.sidedata import Type

    found = frame.side_data.get(Type.DISPLAYMATRIX)  # type: ignore[call-overload]  # its stub has other keys
    if found is None:
        return (1, 0, 0, 1)
    across, down, _, across_next, down_next, *_ = struct.unpack("=9i", bytes(found))
    return across, down, across_next, down_next


def _upright(pixels_HWC: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    """Turned and mirrored by whole quarters, whatever the angle."""
    a, b, c, d = matrix
    if abs(b) > abs(a):
        pixels_HWC = pixels_HWC.swapaxes(0, 1)
        a, d = c, b
    return pixels_HWC[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
