"""Blocks: the projected shortcut, unmasked padding, and refusals."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.model.block import BlockShape, DropPath, MultiScaleBlock


def finish(block: MultiScaleBlock, shortcut: Tensor, attended: Tensor) -> Tensor:
    mixed = shortcut + attended
    normed = functional.layer_norm(mixed, mixed.shape[-1:], block.norm2.weight, block.norm2.bias, 1e-6)
    hidden = functional.gelu(normed @ block.mlp.layers[0].weight.T + block.mlp.layers[0].bias, approximate="none")
    return mixed + hidden @ block.mlp.layers[1].weight.T + block.mlp.layers[1].bias


@torch.no_grad()
def test_padding_comes_after_the_norm_and_takes_part_in_attention_unmasked():
    torch.manual_seed(0)
    block = MultiScaleBlock(BlockShape(8, 8, 2, window=4)).eval()
    nn.init.normal_(block.norm1.bias)
    tokens_BHWC = torch.randn(2, 3, 3, 8)
    padded_BHWC = torch.zeros(2, 4, 4, 8)
    padded_BHWC[:, :3, :3] = block.norm1(tokens_BHWC)
    expected = finish(block, tokens_BHWC, block.attn(padded_BHWC)[:, :3, :3])
    torch.testing.assert_close(block(tokens_BHWC), expected, rtol=1e-5, atol=1e-5)
    masked = finish(block, tokens_BHWC, block.attn(block.norm1(tokens_BHWC)))
    assert not torch.allclose(block(tokens_BHWC), masked, atol=1e-3)


@torch.no_grad()
def test_a_pooling_block_projects_the_normed_tokens_and_pools_them_afterwards():
    torch.manual_seed(0)
    block = MultiScaleBlock(BlockShape(8, 16, 2, window=4, q_stride=(2, 2))).eval()
    tokens_BHWC = torch.randn(1, 4, 4, 8)
    normed_BHWC = block.norm1(tokens_BHWC)
    projected_BCHW = block.proj(normed_BHWC).permute(0, 3, 1, 2)
    shortcut_BHWC = functional.max_pool2d(projected_BCHW, 2).permute(0, 2, 3, 1)
    expected = finish(block, shortcut_BHWC, block.attn(normed_BHWC))
    torch.testing.assert_close(block(tokens_BHWC), expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_block_may_change_its_width_without_pooling():
    block = MultiScaleBlock(BlockShape(8, 16, 2, window=0)).eval()
    tokens_BHWC = torch.randn(1, 4, 4, 8)
    normed_BHWC = block.norm1(tokens_BHWC)
    expected = finish(block, block.proj(normed_BHWC), block.attn(normed_BHWC))
    torch.testing.assert_close(block(tokens_BHWC), expected, rtol=1e-5, atol=1e-5)


def test_a_block_that_is_global_and_pooling_is_refused():
    with pytest.raises(ValueError, match="cannot be both global and pooling"):
        MultiScaleBlock(BlockShape(8, 16, 1, window=0, q_stride=(2, 2)))


def test_a_pooling_block_of_unchanged_width_is_refused():
    with pytest.raises(ValueError, match="must change its width, but stays at 8"):
        MultiScaleBlock(BlockShape(8, 8, 1, window=4, q_stride=(2, 2)))


def test_dropping_paths_happens_while_training_only_and_keeps_the_mean():
    torch.manual_seed(0)
    drop = DropPath(0.25)
    branch = torch.ones(4000, 2, 2, 1)
    assert drop.eval()(branch) is branch
    dropped = drop.train()(branch)
    assert dropped.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.05)
    assert torch.equal(dropped.amin(dim=(1, 2, 3)), dropped.amax(dim=(1, 2, 3)))
