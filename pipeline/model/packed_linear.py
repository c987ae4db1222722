"""Linear layers whose weights lie in memory as oneDNN wants them, with the GELU or the addition that follows.

The operators are those that torch's own compiler emits for CPUs; they have no other way in. In float32 they are more
than twice as fast as `nn.Linear` on CPUs that are not Intel's, in bfloat16 a fifth faster on any (docs/decisions.md).
"""

# ruff: noqa: SLF001  these operators are private

import platform
from functools import cache

import torch
from torch import Tensor, nn


class PackedLinear:
    """y = x W^T + b with packed weights, for rows of tokens on the CPU.

    Args:
        weight: (out, in), any float dtype.
        bias: (out), or None.
        dtype: dtype of weights, inputs and outputs: float32 or bfloat16.
        scale: what to multiply each output by, (out); None for nothing.
    """

    # What oneDNN may choose its layout for; any number of rows can be given.
    _EXPECTED_ROWS = 4096

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype, *, scale: Tensor | None = None) -> None:
        if scale is not None:
            weight = weight * scale[:, None]
            bias = None if bias is None else bias * scale
        rows = weight.to(dtype).contiguous()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(rows, self._EXPECTED_ROWS)
        self.bias = None if bias is None else bias.to(dtype)

    @classmethod
    def of(cls, layer: nn.Linear | nn.Conv2d, dtype: torch.dtype, *, scale: Tensor | None = None) -> "PackedLinear":
        """The packed form of a linear layer, or of a 1x1 convolution."""
        return cls(layer.weight.flatten(1), layer.bias, dtype, scale=scale)

    def __call__(self, rows_NC: Tensor) -> Tensor:
        """(N, in) to (N, out)."""
        out: Tensor = torch.ops.mkldnn._linear_pointwise(rows_NC, self._weight, self.bias, "none", [], "")
        return out

    def gelu(self, rows_NC: Tensor) -> Tensor:
        """The exact GELU of the result."""
        out: Tensor = torch.ops.mkldnn._linear_pointwise(rows_NC, self._weight, self.bias, "gelu", [], "none")
        return out

    def plus(self, rows_NC: Tensor, other_NC: Tensor) -> Tensor:
        """The result plus `other_NC`, rounded once."""
        out: Tensor = torch.ops.mkldnn._linear_pointwise.binary(rows_NC, other_NC, self._weight, self.bias, "add")
        return out


@cache
def can_pack(dtype: torch.dtype) -> bool:
    """Whether this machine and this torch have the operators, for float32 or bfloat16."""
    if dtype not in (torch.float32, torch.bfloat16) or platform.machine() not in ("x86_64", "AMD64"):
        return False
    try:
        if dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
            return False
        rows = torch.ones(2, 32, dtype=dtype)
        probe = PackedLinear(torch.ones(32, 32), torch.ones(32), dtype)
        return bool((probe.plus(probe.gelu(rows), rows) == 33 * 32 + 2).all())
    except (AttributeError, RuntimeError):
        return False
