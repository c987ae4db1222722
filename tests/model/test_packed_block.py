"""A packed block gives what the block gives, token for token."""

import pytest
import torch

from pipeline.model.block import BlockShape, MultiScaleBlock
from pipeline.model.packed_block import PackedBlock
from pipeline.model.token_order import TokenOrder

SHAPES = {
    "windows": BlockShape(16, 16, 2, window=4),
    "windows that the grid cuts": BlockShape(16, 16, 2, window=14),
    "global": BlockShape(16, 16, 2, window=0),
    "wider and pooling": BlockShape(16, 32, 4, window=4, q_stride=(2, 2)),
    "pooling in windows that the grid cuts": BlockShape(16, 32, 4, window=14, q_stride=(2, 2)),
    "wider without pooling": BlockShape(16, 32, 4, window=4),
}


@torch.no_grad()
@pytest.mark.parametrize("kind", SHAPES)
def test_it_gives_what_the_block_gives(kind: str):
    torch.manual_seed(0)
    shape, (height, width) = SHAPES[kind], (16, 24)
    block = MultiScaleBlock(shape).eval()
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    order = TokenOrder((height, width), [2, *([shape.window] if shape.window else [])])
    tokens_BHWC = torch.randn(1, height, width, shape.dim)
    actual = PackedBlock(block, torch.float32)(
        tokens_BHWC.flatten(0, 2)[order.places()], order.windows(1, shape.window)
    )
    expected = block(tokens_BHWC).flatten(0, 2)[order.places(2 if shape.q_stride else 1)]
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)
