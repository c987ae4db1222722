"""Trunk and lateral convolutions arranged for a CPU: the same arithmetic as the modules', with little copied.

Tokens lie in a `TokenOrder` from the patch embedding to the neck, where each level is put into rows and columns once.
The first blocks, which never mix tokens of different windows, take a few windows at a time, so that what they touch
stays in the cache; images go through one after another, so that no feature depends on its neighbours.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.model.fpn import FpnNeck
from pipeline.model.hiera import Hiera
from pipeline.model.packed_block import PackedBlock
from pipeline.model.packed_linear import PackedLinear, can_pack
from pipeline.model.packed_way import Level, Step, Way

if TYPE_CHECKING:
    from pipeline.model.block import MultiScaleBlock


class PackedEncoder:
    """A snapshot of an encoder's weights; later changes of them do not reach it.

    Args:
        trunk: with weights on the CPU.
        neck: as the trunk.
        dtype: what to compute in; float32 or bfloat16.
    """

    def __init__(self, trunk: Hiera, neck: FpnNeck, dtype: torch.dtype) -> None:
        self._trunk, self._dtype = trunk, dtype
        embedding = trunk.patch_embed.proj
        self._patch_weight = embedding.weight.contiguous(memory_format=torch.channels_last)
        self._patch_bias = embedding.bias
        self._blocks = [PackedBlock(cast("MultiScaleBlock", block), dtype) for block in trunk.blocks]
        self._widths = [conv.out_channels for conv in neck.laterals]
        self._laterals = [PackedLinear.of(conv, dtype) for conv in neck.laterals]
        self._ways: dict[tuple[int, int], Way] = {}

    @staticmethod
    def fits(trunk: Hiera, neck: FpnNeck, *, size: tuple[int, int], dtype: torch.dtype) -> bool:
        """Whether an encoder, the (height, width) of its input and this machine allow for the arrangement."""
        return can_pack(dtype) and neck.is_pointwise and Way.exists(trunk, size)

    def __call__(self, pixels_BCHW: Tensor) -> list[Tensor]:
        """The neck's lateral maps, before coarser ones are added to finer ones.

        Args:
            pixels_BCHW: (B, 3, H, W) float32, of a size that `fits`.

        Returns:
            (B, C, h, w) in the dtype computed in, highest resolution first; their memory is channels last.
        """
        way, batch = self.prepare((pixels_BCHW.shape[2], pixels_BCHW.shape[3])), len(pixels_BCHW)
        shapes = [(batch, *level.size, width) for level, width in zip(way.levels, self._widths, strict=True)]
        maps_BHWC = [torch.empty(shape, dtype=self._dtype) for shape in shapes]
        for image, pixels_CHW in enumerate(pixels_BCHW):
            self._encode(pixels_CHW, way, [map_BHWC[image].flatten(0, 1) for map_BHWC in maps_BHWC])
        return [map_BHWC.permute(0, 3, 1, 2) for map_BHWC in maps_BHWC]

    def prepare(self, size: tuple[int, int]) -> Way:
        """The way of images of a (height, width) in pixels; kept for the last size alone, for it is large."""
        way = self._ways.get(size)
        if way is None:
            way = Way(self._trunk, size)
            self._ways = {size: way}
        return way

    def _encode(self, pixels_CHW: Tensor, way: Way, maps_NC: list[Tensor]) -> None:
        embedded_NC = self._embed(pixels_CHW)
        parts = []
        for start in range(0, len(embedded_NC), way.tokens_at_a_time):
            some = slice(start, start + way.tokens_at_a_time)
            tokens_NC = (embedded_NC[way.places[some]] + way.positions_NC[some]).to(self._dtype)
            for block, step in self._steps(way, slice(way.num_leading)):
                tokens_NC = block(tokens_NC, step.windows_of(len(tokens_NC)))
                self._project(tokens_NC, step.level, maps_NC, start=start)
            parts.append(tokens_NC)
        tokens_NC = torch.cat(parts)
        for block, step in self._steps(way, slice(way.num_leading, None)):
            tokens_NC = block(tokens_NC, step.windows)
            self._project(tokens_NC, step.level, maps_NC, start=0)

    def _steps(self, way: Way, which: slice) -> Iterator[tuple[PackedBlock, Step]]:
        return zip(self._blocks[which], way.steps[which], strict=True)

    def _embed(self, pixels_CHW: Tensor) -> Tensor:
        convolution = self._trunk.patch_embed.proj
        embedded_1CHW = functional.conv2d(
            pixels_CHW[None].contiguous(memory_format=torch.channels_last),
            self._patch_weight,
            self._patch_bias,
            convolution.stride,
            convolution.padding,
        )
        return embedded_1CHW.permute(0, 2, 3, 1).flatten(0, 2)

    def _project(self, tokens_NC: Tensor, level: Level | None, maps_NC: list[Tensor], *, start: int) -> None:
        """Puts a block's result, if it ends a level, into that level's map; `start` counts finest tokens."""
        if level is not None:
            first = start // level.stride**2
            places = level.places[first : first + len(tokens_NC)]
            maps_NC[level.number].index_copy_(0, places, self._laterals[level.number](tokens_NC))
