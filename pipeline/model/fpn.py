"""The neck: every stage's map to the same number of channels, with coarser maps added to finer ones.

The coarser map is upsampled in float32 even under half precision, so a level it reaches comes out in float32:
the dtypes are SAM 2's own.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

FUSE_TYPES = ("sum", "avg")
# Whether interpolate wants align_corners for a mode; the first and the last two do not know it.
INTERP_MODES = {"nearest": None, "bilinear": False, "bicubic": False, "nearest-exact": None, "area": None}


class FpnNeck(nn.Module):
    """The simplified feature pyramid of SAM 2: one convolution a level, and one addition where asked.

    Source: sam2/modeling/backbones/image_encoder.py, FpnNeck.

    Args:
        position_encoding: module that maps a feature map and a dtype to the encoding of its positions.
        d_model: channels of every level.
        backbone_channel_list: channels of the trunk's maps, deepest first.
        kernel_size: of the lateral convolutions.
        stride: of the lateral convolutions.
        padding: of the lateral convolutions.
        fpn_interp_model: how the coarser map is upsampled; one of `INTERP_MODES`.
        fuse_type: `sum`, or `avg` for half of it.
        fpn_top_down_levels: levels (0 = finest) that get the coarser map added; None for all.

    Raises:
        ValueError: unknown `fuse_type` or `fpn_interp_model`.
    """

    def __init__(  # noqa: PLR0913  every argument of the published class, by its published name
        self,
        position_encoding: nn.Module,
        d_model: int,
        backbone_channel_list: Sequence[int],
        *,
        kernel_size: int = 1,
        stride: int = 1,
        padding: int = 0,
        fpn_interp_model: str = "bilinear",
        fuse_type: str = "sum",
        fpn_top_down_levels: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if fuse_type not in FUSE_TYPES:
            raise ValueError(f"fuse_type={fuse_type!r} is unknown; choose one of {', '.join(FUSE_TYPES)}")
        if fpn_interp_model not in INTERP_MODES:
            raise ValueError(
                f"fpn_interp_model={fpn_interp_model!r} is unknown; choose one of {', '.join(INTERP_MODES)}"
            )
        self.position_encoding = position_encoding
        self.d_model = d_model
        self.backbone_channel_list = list(backbone_channel_list)
        self.convs = nn.ModuleList(
            nn.Sequential(OrderedDict(conv=nn.Conv2d(channels, d_model, kernel_size, stride, padding)))
            for channels in self.backbone_channel_list
        )
        self.fpn_interp_model = fpn_interp_model
        self.fuse_type = fuse_type
        every_level = range(len(self.convs))
        self.fpn_top_down_levels = list(every_level if fpn_top_down_levels is None else fpn_top_down_levels)

    def forward(self, maps_BCHW: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Bring the trunk's maps to `d_model` channels.

        Args:
            maps_BCHW: the trunk's maps, highest resolution first; as many as there are convolutions.

        Returns:
            The levels (B, d_model, H, W) and their position encodings in the levels' dtypes, both highest
            resolution first.

        Raises:
            ValueError: another number of maps, or a level that the upsampled coarser one does not fit.
        """
        if len(maps_BCHW) != len(self.convs):
            raise ValueError(
                f"{len(maps_BCHW)} maps came from the trunk, but the neck has {len(self.convs)} convolutions"
            )
        convs = reversed(self.convs)
        return self.fuse([conv(map_BCHW) for conv, map_BCHW in zip(convs, maps_BCHW, strict=True)])

    def fuse(self, laterals_BCHW: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Add coarser maps to finer ones where asked: what `forward` does after its convolutions.

        Args:
            laterals_BCHW: what the convolutions gave, highest resolution first.

        Returns:
            As `forward`.

        Raises:
            ValueError: a level that the upsampled coarser one does not fit.
        """
        levels = self.add_coarser_levels(laterals_BCHW)
        return levels, [self.position_encoding(level_BCHW, level_BCHW.dtype) for level_BCHW in levels]

    def add_coarser_levels(self, laterals_BCHW: Sequence[Tensor]) -> list[Tensor]:
        """The levels alone, of any number of channels; arguments and errors as for `fuse`."""
        levels: list[Tensor] = []
        for level, lateral_BCHW in reversed(list(enumerate(laterals_BCHW))):
            is_fused = level in self.fpn_top_down_levels and levels
            levels.append(self._add_coarser(lateral_BCHW, levels[-1], level) if is_fused else lateral_BCHW)
        levels.reverse()
        return levels

    @property
    def laterals(self) -> list[nn.Conv2d]:
        """The lateral convolutions, highest resolution first."""
        return [cast("nn.Conv2d", sequence.conv) for sequence in self.convs][::-1]

    @property
    def is_pointwise(self) -> bool:
        """Whether every lateral convolution is 1x1 of stride 1, so that it takes each cell by itself."""
        shapes = {(conv.kernel_size, conv.stride, conv.padding) for conv in self.laterals}
        return shapes == {((1, 1), (1, 1), (0, 0))}

    def _add_coarser(self, lateral_BCHW: Tensor, coarser_BCHW: Tensor, level: int) -> Tensor:
        mode = self.fpn_interp_model
        upsampled_BCHW = functional.interpolate(
            coarser_BCHW.to(torch.float32), scale_factor=2.0, mode=mode, align_corners=INTERP_MODES[mode]
        )
        if not _can_add(lateral_BCHW.shape, upsampled_BCHW.shape):
            raise ValueError(
                f"level {level} is {tuple(lateral_BCHW.shape[-2:])}, but the coarser level upsampled by two "
                f"is {tuple(upsampled_BCHW.shape[-2:])}; change kernel_size, stride, padding or "
                "fpn_top_down_levels"
            )
        fused_BCHW = lateral_BCHW + upsampled_BCHW
        return fused_BCHW / 2 if self.fuse_type == "avg" else fused_BCHW


def _can_add(first: torch.Size, second: torch.Size) -> bool:
    # As in SAM 2, a level of a single row or column is broadcast, which a strided neck can lead to.
    return all(a == b or 1 in (a, b) for a, b in zip(first, second, strict=True))
