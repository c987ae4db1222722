"""Attention over runs of windows, as plain products and a softmax: on CPUs without AMX, faster than torch's own.

Tokens come and go in rows; queries are already scaled by 1 / sqrt(head_dim).
"""

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.model.packed_linear import PackedLinear
from pipeline.model.token_order import Windows

# Rows of queries at a time against all keys of a head: few enough for the scores to stay in the cache.
_QUERY_ROWS = 512
# From this many keys on it pays to pack them.
_MANY_KEYS = 1024


def pool_cells(rows: Tensor) -> Tensor:
    """The greatest of every four neighbours, by channel: (..., N, C) to (..., N / 4, C)."""
    cells = rows.reshape(*rows.shape[:-2], -1, 2, 2, rows.shape[-1])
    pairs = torch.maximum(cells[..., 0, :], cells[..., 1, :])
    return torch.maximum(pairs[..., 0, :], pairs[..., 1, :])


def attend_windows(
    qkv_NC: Tensor, windows: Windows, *, num_heads: int, padding_C: Tensor | None, num_padded: int, is_pooling: bool
) -> Tensor:
    """Attention within each window of a run.

    Args:
        qkv_NC: queries, keys and values of the run's tokens side by side, (N, 3 * C).
        windows: the run.
        num_heads: attention heads.
        padding_C: queries, keys and values of a padded token, (3 * C); None without padding.
        num_padded: padded tokens of a window; they are keys and values like others.
        is_pooling: take the greatest query of every four neighbours.

    Returns:
        (N, C), or (N / 4, C) with pooling.
    """
    tokens = windows.height * windows.width
    split = qkv_NC.view(windows.count, tokens, 3, num_heads, -1)
    q, k, v = split.permute(2, 0, 3, 1, 4).contiguous()  # each (windows, heads, tokens, head_dim)
    if is_pooling:
        q = pool_cells(q)
    if num_padded:
        assert padding_C is not None, "padded tokens have keys and values"
        _, key, value = padding_C.view(3, 1, num_heads, 1, -1).expand(3, windows.count, -1, num_padded, -1)
        k, v = torch.cat([k, key], 2), torch.cat([v, value], 2)
    attended = _attend_many(q, k, v) if k.shape[2] >= _MANY_KEYS else functional.softmax(q @ k.transpose(2, 3), -1) @ v
    return attended.transpose(1, 2).reshape(windows.count * q.shape[2], -1)


def _attend_many(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The same with packed keys and values, window by window and head by head."""
    attended = torch.empty_like(q)
    for window in range(q.shape[0]):
        for head in range(q.shape[1]):
            scores = PackedLinear(k[window, head], None, k.dtype)
            mix = PackedLinear(v[window, head].t(), None, v.dtype)
            queries = q[window, head]
            for start in range(0, len(queries), _QUERY_ROWS):
                rows = slice(start, start + _QUERY_ROWS)
                attended[window, head, rows] = mix(functional.softmax(scores(queries[rows]), -1))
    return attended
