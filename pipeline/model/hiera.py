"""The Hiera trunk: pixels to one feature map per stage, at strides 4, 8, 16 and 32.

The first block of a stage already has the new width and heads but still the window of the stage before,
because it runs at that stage's resolution and pools on its way.
"""

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.errors import ConfigError
from pipeline.model.block import BlockShape, MultiScaleBlock

PATCH_STRIDE = 4
# Four times those of the largest published trunk; a model file from anybody decides how many are built.
MAX_BLOCKS = 200


class PatchEmbed(nn.Module):
    """One 7x7 convolution of stride 4: pixels (B, 3, H, W) to tokens (B, ceil(H / 4), ceil(W / 4), C)."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, embed_dim, kernel_size=7, stride=PATCH_STRIDE, padding=3)

    def forward(self, pixels_BCHW: Tensor) -> Tensor:
        """Return the tokens, channels last."""
        embedded_BCHW: Tensor = self.proj(pixels_BCHW)
        return embedded_BCHW.permute(0, 2, 3, 1)


class Hiera(nn.Module):
    """The hierarchical vision transformer of SAM 2, with the published parameter names.

    Source: sam2/modeling/backbones/hieradet.py, Hiera; Ryali et al. 2023, arXiv:2306.00989.

    Args:
        embed_dim: channels of the first stage.
        num_heads: attention heads of the first stage.
        drop_path_rate: probability of dropping the last block's branches while training; rises linearly over
            blocks.
        q_pool: how many of the transitions between stages pool.
        q_stride: (down, across) pooling; both sides equal.
        stages: blocks per stage.
        dim_mul: growth of the channels from stage to stage.
        head_mul: growth of the heads from stage to stage.
        window_pos_embed_bkg_spatial_size: (height, width) of the coarse position embedding.
        window_spec: side of the attention windows per stage, in tokens; 0 means global attention.
        global_att_blocks: indices of blocks with global attention; None for none.
        weights_path: must stay None; weights are chosen by `checkpoint=`.
        return_interm_layers: return every stage's map, not only the last.

    Attributes:
        block_shapes: what distinguishes the blocks, in order.
        channel_list: channels of the maps that `forward` returns, deepest first.

    Raises:
        ValueError: the arguments do not fit together.
        ConfigError: `weights_path` is given.
    """

    def __init__(  # noqa: PLR0913  every argument of the published class, by its published name
        self,
        embed_dim: int = 96,
        num_heads: int = 1,
        drop_path_rate: float = 0.0,
        *,
        q_pool: int = 3,
        q_stride: Sequence[int] = (2, 2),
        stages: Sequence[int] = (2, 3, 16, 3),
        dim_mul: float = 2.0,
        head_mul: float = 2.0,
        window_pos_embed_bkg_spatial_size: Sequence[int] = (14, 14),
        window_spec: Sequence[int] = (8, 4, 14, 7),
        global_att_blocks: Sequence[int] | None = (12, 16, 20),
        weights_path: str | None = None,
        return_interm_layers: bool = True,
    ) -> None:
        super().__init__()
        if weights_path is not None:
            raise ConfigError(
                f"weights_path={weights_path!r} is not supported; name the weights with checkpoint= instead"
            )
        _check_stages(stages, window_spec, q_pool)
        _check_rates(q_stride, drop_path_rate)
        if len(window_pos_embed_bkg_spatial_size) != 2:
            raise ValueError(
                f"window_pos_embed_bkg_spatial_size={list(window_pos_embed_bkg_spatial_size)} must be [height, width]"
            )
        self.window_spec = tuple(window_spec)
        self.stage_ends = [end - 1 for end in accumulate(stages)]
        self.q_pool_blocks = [end + 1 for end in self.stage_ends[:-1]][:q_pool]
        self.global_att_blocks = tuple(global_att_blocks or ())
        self.return_interm_layers = return_interm_layers
        self.q_stride = (q_stride[0], q_stride[1])
        self.patch_embed = PatchEmbed(embed_dim)
        coarse_height, coarse_width = window_pos_embed_bkg_spatial_size
        self.pos_embed = nn.Parameter(torch.zeros(1, embed_dim, coarse_height, coarse_width))
        self.pos_embed_window = nn.Parameter(torch.zeros(1, embed_dim, window_spec[0], window_spec[0]))
        self.block_shapes = shapes = self._block_shapes((embed_dim, num_heads), (dim_mul, head_mul), drop_path_rate)
        self.blocks = nn.ModuleList(MultiScaleBlock(shape) for shape in shapes)
        ends = self.stage_ends if return_interm_layers else self.stage_ends[-1:]
        self.channel_list = [shapes[end].dim_out for end in reversed(ends)]

    def _block_shapes(
        self, width: tuple[int, int], growth: tuple[float, float], drop_path_rate: float
    ) -> list[BlockShape]:
        """The shapes of all blocks, from (channels, heads) of the first stage and their growth per stage."""
        (dim, num_heads), depth, stage = width, self.stage_ends[-1] + 1, 0
        shapes = []
        for index in range(depth):
            window = 0 if index in self.global_att_blocks else self.window_spec[stage]
            dim_out = dim
            if index - 1 in self.stage_ends:
                dim_out, num_heads = int(dim * growth[0]), int(num_heads * growth[1])
                stage += 1
            shapes.append(
                BlockShape(
                    dim,
                    dim_out,
                    num_heads,
                    window=window,
                    q_stride=self.q_stride if index in self.q_pool_blocks else None,
                    drop_path=drop_path_rate * index / max(depth - 1, 1),
                )
            )
            dim = dim_out
        return shapes

    def forward(self, pixels_BCHW: Tensor) -> list[Tensor]:
        """Compute the stages' maps.

        Args:
            pixels_BCHW: normalised pixels, (B, 3, H, W); H and W multiples of 32 with the published windows.

        Returns:
            Maps (B, C, h, w), highest resolution first; their memory is channels last.

        Raises:
            ValueError: the pixels have another shape, or sides that the position embedding cannot tile.
        """
        self.check_pixels(pixels_BCHW)
        tokens_BHWC = self.patch_embed(pixels_BCHW)
        tokens_BHWC = tokens_BHWC + self.position_embedding(tokens_BHWC.shape[1], tokens_BHWC.shape[2])
        maps_BCHW = []
        for index, block in enumerate(self.blocks):
            tokens_BHWC = block(tokens_BHWC)
            is_last = index == self.stage_ends[-1]
            if is_last or (self.return_interm_layers and index in self.stage_ends):
                maps_BCHW.append(tokens_BHWC.permute(0, 3, 1, 2))
        return maps_BCHW

    def position_embedding(self, height: int, width: int) -> Tensor:
        """The coarse embedding stretched over the grid plus the tiled window embedding, (1, H, W, C)."""
        coarse = functional.interpolate(self.pos_embed, size=(height, width), mode="bicubic")
        side = self.window_spec[0]
        tiled = self.pos_embed_window.tile(1, 1, height // side, width // side)
        return (coarse + tiled).permute(0, 2, 3, 1)

    def check_pixels(self, pixels_BCHW: Tensor) -> None:
        """Raise ValueError for pixels that `forward` does not take."""
        if pixels_BCHW.ndim != 4 or pixels_BCHW.shape[1] != 3:
            raise ValueError(f"pixels have the shape {tuple(pixels_BCHW.shape)}; give (batch, 3, height, width)")
        if not pixels_BCHW.is_floating_point():
            raise ValueError(f"pixels have the dtype {pixels_BCHW.dtype}; give normalised floating point pixels")
        side = self.window_spec[0]
        for name, length in zip(("height", "width"), pixels_BCHW.shape[2:], strict=True):
            tokens = -(-length // PATCH_STRIDE)
            if tokens % side or tokens == 0:
                raise ValueError(
                    f"pixels of {name} {length} give {tokens} tokens, which window_spec[0]={side} does not "
                    f"divide; give a {name} that is a multiple of {PATCH_STRIDE * side}"
                )


def _check_stages(stages: Sequence[int], window_spec: Sequence[int], q_pool: int) -> None:
    if not stages or min(stages) < 1:
        raise ValueError(f"stages={list(stages)} must hold at least one block per stage")
    if sum(stages) > MAX_BLOCKS:
        raise ValueError(f"stages={list(stages)} must hold at most {MAX_BLOCKS} blocks in all")
    if len(window_spec) != len(stages):
        raise ValueError(f"window_spec={list(window_spec)} must have one entry for each of the {len(stages)} stages")
    if window_spec[0] < 1 or min(window_spec) < 0:
        raise ValueError(
            f"window_spec={list(window_spec)} must start with a window of at least 1 and hold no negatives"
        )
    if not 0 <= q_pool < len(stages):
        raise ValueError(f"q_pool={q_pool} must lie between 0 and {len(stages) - 1}, the transitions between stages")


def _check_rates(q_stride: Sequence[int], drop_path_rate: float) -> None:
    if len(q_stride) != 2 or q_stride[0] != q_stride[1] or q_stride[0] < 1:
        raise ValueError(f"q_stride={list(q_stride)} must hold two equal sides of at least 1")
    if not 0.0 <= drop_path_rate < 1.0:
        raise ValueError(f"drop_path_rate={drop_path_rate} must lie in [0, 1)")
