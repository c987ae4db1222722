"""Cuts a token grid into square windows and puts it together again.

The grid is padded with zeros at the bottom and right only. Nothing is masked: padded tokens take part in
attention, because that is what the published weights were trained with.
"""

from torch import Tensor
from torch.nn import functional


def partition_windows(tokens_BHWC: Tensor, window: int) -> tuple[Tensor, tuple[int, int]]:
    """Cut a token grid into windows, padding it to whole windows first.

    Args:
        tokens_BHWC: the grid, (B, H, W, C).
        window: side of a window in tokens.

    Returns:
        The windows, (B * rows * columns, window, window, C), ordered by image, then row, then column of
        windows; and (rows, columns), the number of windows down and across. Source:
        sam2/modeling/backbones/utils.py.
    """
    batch, height, width, channels = tokens_BHWC.shape
    pad_height, pad_width = -height % window, -width % window
    if pad_height or pad_width:
        tokens_BHWC = functional.pad(tokens_BHWC, (0, 0, 0, pad_width, 0, pad_height))
    rows, columns = (height + pad_height) // window, (width + pad_width) // window
    split = tokens_BHWC.reshape(batch, rows, window, columns, window, channels)
    return split.transpose(2, 3).reshape(-1, window, window, channels), (rows, columns)


def join_windows(windows_NHWC: Tensor, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Put windows together again and cut the padding off: the inverse of `partition_windows`.

    The side of a window is read from the windows, so that they may have been pooled in between.

    Args:
        windows_NHWC: the windows, (B * rows * columns, side, side, C).
        grid: (rows, columns), the number of windows down and across.
        size: (H, W) of the grid without padding, in tokens.

    Returns:
        The token grid, (B, H, W, C).

    Raises:
        ValueError: the windows do not cover the grid.
    """
    (rows, columns), (height, width) = grid, size
    side, channels = windows_NHWC.shape[1], windows_NHWC.shape[-1]
    if rows * side < height or columns * side < width:
        raise ValueError(
            f"{rows}x{columns} windows of side {side} do not cover a grid of {height}x{width} tokens; "
            "choose window_spec entries that q_stride divides"
        )
    split = windows_NHWC.reshape(-1, rows, columns, side, side, channels)
    tokens_BHWC = split.transpose(2, 3).reshape(-1, rows * side, columns * side, channels)
    return tokens_BHWC[:, :height, :width]
