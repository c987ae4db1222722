"""Sine position encoding of a feature map; it depends on the map's height and width alone.

Computed in float32, kept per shape, device and dtype, and handed out as one read-only view for the whole
batch.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

EPS = 1e-6
MAX_KEPT = 16


class PositionEmbeddingSine(nn.Module):
    """Interleaved sines and cosines of the row (first half of the channels) and the column (second half).

    Source: sam2/modeling/position_encoding.py, PositionEmbeddingSine.

    Args:
        num_pos_feats: channels of the encoding; even.
        temperature: base of the geometric progression of wavelengths.
        normalize: scale rows and columns to (0, `scale`] first.
        scale: greatest normalised value; None means 2 pi.
        warmup_cache: accepted for compatibility; nothing is computed before the first forward.
        image_size: side of the images in pixels; tells the preprocessing how large to make them.
        strides: accepted for compatibility, as `warmup_cache`.

    Raises:
        ValueError: `num_pos_feats` is odd, or `scale` comes without `normalize`.
    """

    def __init__(
        self,
        num_pos_feats: int,
        temperature: float = 10000,
        normalize: bool = True,
        *,
        scale: float | None = None,
        warmup_cache: bool = True,  # noqa: ARG002
        image_size: int = 1024,
        strides: Sequence[int] = (4, 8, 16, 32),  # noqa: ARG002
    ) -> None:
        super().__init__()
        if num_pos_feats < 2 or num_pos_feats % 2:
            raise ValueError(f"num_pos_feats={num_pos_feats} must be even: half is for rows, half for columns")
        if scale is not None and not normalize:
            raise ValueError(f"scale={scale} has no effect without normalize; set normalize=true or scale=null")
        self.num_pos_feats = num_pos_feats
        self.temperature = temperature
        self.normalize = normalize
        self.scale = 2 * math.pi if scale is None else scale
        self.image_size = image_size
        self._kept: dict[tuple[int, int, torch.device, torch.dtype], Tensor] = {}

    def forward(self, features_BCHW: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Encode the positions of a map.

        Args:
            features_BCHW: any map, (B, C, H, W); only its shape and device count.
            dtype: what the float32 values are cast to.

        Returns:
            (B, num_pos_feats, H, W); all images share one piece of memory, so clone it before writing to it.
        """
        batch, _, height, width = features_BCHW.shape
        key = (height, width, features_BCHW.device, dtype)
        if key not in self._kept:
            if len(self._kept) >= MAX_KEPT:
                self._kept.pop(next(iter(self._kept)))
            # Kept tensors must stay usable outside of inference_mode, whatever mode the first caller is in.
            with torch.inference_mode(mode=False), torch.no_grad():
                self._kept[key] = self._encode(height, width, features_BCHW.device).to(dtype)
        return self._kept[key].expand(batch, -1, -1, -1)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_kept": {}}

    def _encode(self, height: int, width: int, device: torch.device) -> Tensor:
        rows_HF, columns_WF = self._waves(height), self._waves(width)
        half = rows_HF.shape[1]
        encoding = torch.empty((1, 2 * half, height, width), dtype=torch.float32, device="cpu")
        encoding[0, :half] = rows_HF.T[:, :, None]
        encoding[0, half:] = columns_WF.T[:, None, :]
        return encoding.to(device)

    def _waves(self, length: int) -> Tensor:
        """Sine and cosine values of the positions 1..length along one axis, (length, num_pos_feats // 2).

        Angles are float32, as upstream has them. Their sine is taken by numpy in float64 on the CPU, because torch's
        own, spread over threads, has been seen to come out 1.5e-4 off for half of the rows, in one of some dozens of
        processes (docs/decisions.md); so the values are the same in every process and on every device.
        """
        half = self.num_pos_feats // 2
        positions = torch.arange(1, length + 1, dtype=torch.float32, device="cpu")
        if self.normalize:
            positions = positions / (positions[-1] + EPS) * self.scale
        channels = torch.arange(half, dtype=torch.float32, device="cpu")
        wavelengths = self.temperature ** (2 * (channels // 2) / half)
        angles = (positions[:, None] / wavelengths).numpy().astype(np.float64)
        waves = np.where(np.arange(half) % 2 == 0, np.sin(angles), np.cos(angles))
        return torch.from_numpy(waves.astype(np.float32))
