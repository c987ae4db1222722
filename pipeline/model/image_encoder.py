"""The image encoder: trunk and neck behind one call that returns what SAM 2's own encoder returns."""

from typing import TypedDict

import torch
from torch import Tensor, nn

from pipeline.model.fpn import FpnNeck
from pipeline.model.hiera import Hiera
from pipeline.model.packed_encoder import PackedEncoder


class EncoderOutput(TypedDict):
    """What the encoder returns.

    Attributes:
        vision_features: the last kept level, (B, d_model, H, W).
        vision_pos_enc: position encodings of the levels, highest resolution first; clone before writing to
            them.
        backbone_fpn: the levels, highest resolution first; strides 4, 8 and 16 with `scalp` 1.
    """

    vision_features: Tensor
    vision_pos_enc: list[Tensor]
    backbone_fpn: list[Tensor]


class ImageEncoder(nn.Module):
    """SAM 2's image encoder.

    Source: sam2/modeling/backbones/image_encoder.py, ImageEncoder.

    Args:
        trunk: pixels to one map per stage.
        neck: those maps to levels of equal width.
        scalp: how many of the coarsest levels to leave out of the result.

    Attributes:
        compute_dtype: half precision to run under, through autocast; None for float32. Weights stay float32.

    Raises:
        ValueError: trunk and neck do not fit together, or `scalp` leaves no level.
    """

    def __init__(self, trunk: Hiera, neck: FpnNeck, scalp: int = 0) -> None:
        super().__init__()
        if trunk.channel_list != neck.backbone_channel_list:
            raise ValueError(
                f"neck.backbone_channel_list={neck.backbone_channel_list} does not match the trunk's "
                f"channels, deepest first: {trunk.channel_list}"
            )
        if not 0 <= scalp < len(trunk.channel_list):
            raise ValueError(f"scalp={scalp} must lie between 0 and {len(trunk.channel_list) - 1} to leave a level")
        self.trunk = trunk
        self.neck = neck
        self.scalp = scalp
        self.compute_dtype: torch.dtype | None = None
        self._packed: tuple[object, PackedEncoder] | None = None

    def forward(self, pixels_BCHW: Tensor) -> EncoderOutput:
        """Encode normalised pixels.

        Args:
            pixels_BCHW: (B, 3, H, W); sides that are multiples of 32, 1024 for the published weights.

        Returns:
            The levels and their position encodings; their memory may be channels last.

        Raises:
            ValueError: pixels of another shape.
        """
        if self._can_pack(pixels_BCHW):
            return self._output(*self.neck.fuse(self._packed_encoder()(pixels_BCHW)))
        return self.encode_plainly(pixels_BCHW)

    def prepare(self, side_px: int) -> None:
        """Does what the first image of `side_px` x `side_px` pixels would have to wait for; harmless to leave out."""
        with torch.inference_mode():
            pixels_BCHW = torch.zeros(1, 3, side_px, side_px, device=next(self.parameters()).device)
            if self._can_pack(pixels_BCHW):
                self._packed_encoder().prepare((side_px, side_px))

    def encode_plainly(self, pixels_BCHW: Tensor) -> EncoderOutput:
        """The same through the modules as they stand, which is slower on a CPU and the measure of the rest."""
        if self.compute_dtype is None:
            return self._encode(pixels_BCHW)
        with torch.autocast(device_type=pixels_BCHW.device.type, dtype=self.compute_dtype):
            return self._encode(pixels_BCHW)

    def encode_exactly(self, pixels_BCHW: Tensor) -> EncoderOutput:
        """The same through the modules in float32, whatever precision is set: what audits measure against."""
        with (
            torch.autocast(device_type=pixels_BCHW.device.type, enabled=False),
            torch.backends.cudnn.flags(enabled=True, allow_tf32=False),
        ):
            return self._encode(pixels_BCHW)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_packed": None}

    def _encode(self, pixels_BCHW: Tensor) -> EncoderOutput:
        return self._output(*self.neck(self.trunk(pixels_BCHW)))

    def _output(self, levels: list[Tensor], encodings: list[Tensor]) -> EncoderOutput:
        num_kept = len(levels) - self.scalp
        return {
            "vision_features": levels[num_kept - 1],
            "vision_pos_enc": encodings[:num_kept],
            "backbone_fpn": levels[:num_kept],
        }

    def _can_pack(self, pixels_BCHW: Tensor) -> bool:
        """Whether this forward pass is one that the packed form is made for."""
        if self.training or torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
            return False
        tensors = (pixels_BCHW, *self.parameters())
        if any(tensor.device.type != "cpu" or tensor.dtype != torch.float32 for tensor in tensors):
            return False
        self.trunk.check_pixels(pixels_BCHW)
        size = (pixels_BCHW.shape[2], pixels_BCHW.shape[3])
        return PackedEncoder.fits(self.trunk, self.neck, size=size, dtype=self._packed_dtype)

    @property
    def _packed_dtype(self) -> torch.dtype:
        return self.compute_dtype or torch.float32

    def _packed_encoder(self) -> PackedEncoder:
        """The packed form of the weights as they are now."""
        state = (self._packed_dtype, *(_state(parameter) for parameter in self.parameters()))
        if self._packed is None or self._packed[0] != state:
            self._packed = (state, PackedEncoder(self.trunk, self.neck, self._packed_dtype))
        return self._packed[1]


def _state(parameter: Tensor) -> tuple[int, int]:
    """Where a parameter lies and how often it was written; torch counts that for all but inference tensors."""
    return parameter.data_ptr(), 0 if parameter.is_inference() else parameter._version  # noqa: SLF001
