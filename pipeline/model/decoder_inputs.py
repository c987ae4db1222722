"""What SAM 2's mask decoder takes of an image: levels 0 and 1 through a 1x1 convolution each, level 2 as it is.

The convolutions are folded into the neck's lateral ones: maps of 256 channels that nobody keeps are never made.
"""

from typing import cast

import torch
from torch import Tensor, nn

from pipeline.errors import ConfigError
from pipeline.model.image_encoder import ImageEncoder

NUM_LEVELS = 3


class DecoderInputs(nn.Module):
    """The parts of a whole SAM 2 model between its image encoder and its mask decoder, by their published names.

    Source: sam2/modeling/sam2_base.py, forward_image; sam2/modeling/sam/mask_decoder.py, MaskDecoder.

    Args:
        d_model: channels of the encoder's levels; levels 0 and 1 get an eighth and a quarter of them.
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.sam_mask_decoder = nn.ModuleDict(
            {"conv_s0": nn.Conv2d(d_model, d_model // 8, 1), "conv_s1": nn.Conv2d(d_model, d_model // 4, 1)}
        )
        self.no_mem_embed = nn.Parameter(torch.zeros(1, 1, d_model))

    def fold_into(self, encoder: ImageEncoder) -> None:
        """Makes the encoder's levels those of SAM 2's `forward_image`, in place; `no_mem_embed` is not added.

        Raises:
            ConfigError: the encoder has another number of levels, or adds coarser levels to levels 0 or 1.
        """
        neck = encoder.neck
        num_levels = len(neck.convs) - encoder.scalp
        if num_levels != NUM_LEVELS:
            raise ConfigError(
                f"features=decoder takes {NUM_LEVELS} levels, but this encoder gives {num_levels}: set scalp"
            )
        if {0, 1} & set(neck.fpn_top_down_levels):
            raise ConfigError(
                f"features=decoder does not go with neck.fpn_top_down_levels={neck.fpn_top_down_levels}: "
                "levels 0 and 1 must be without coarser ones, as in every published model"
            )
        for level, outer in enumerate(self.sam_mask_decoder.values()):
            composed = _composed(neck.laterals[level], cast("nn.Conv2d", outer))
            neck.convs[-1 - level].add_module("conv", composed)


def _composed(inner: nn.Conv2d, outer: nn.Conv2d) -> nn.Conv2d:
    """One convolution that does what `inner` and then the 1x1 convolution `outer` do, composed in float64."""
    assert inner.bias is not None
    assert outer.bias is not None
    mixing = outer.weight.double().flatten(1)
    with torch.device(inner.weight.device):
        composed = nn.Conv2d(
            inner.in_channels,
            outer.out_channels,
            cast("tuple[int, int]", inner.kernel_size),
            cast("tuple[int, int]", inner.stride),
            cast("tuple[int, int]", inner.padding),
        )
    weight = torch.einsum("om,mikl->oikl", mixing, inner.weight.double())
    bias = mixing @ inner.bias.double() + outer.bias.double()
    composed.weight, composed.bias = _frozen(weight), _frozen(bias)
    return composed


def _frozen(values: Tensor) -> nn.Parameter:
    return nn.Parameter(values.detach().float(), requires_grad=False)
