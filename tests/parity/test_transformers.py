"""fp32 features equal those of Hugging Face's independent implementation, for all four sizes."""

from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.model.build import instantiate_encoder, load_encoder_config
from tests.parity.hugging_face import hugging_face_name
from tests.parity.reference_weights import fill, pixels

SIDE_PX = 256


def hugging_face_model(tree: dict[str, Any], state_dict: dict[str, Tensor]) -> torch.nn.Module:
    transformers = pytest.importorskip("transformers")
    trunk, neck = tree["trunk"], tree["neck"]
    stages = range(len(trunk["stages"]))
    backbone = transformers.Sam2HieraDetConfig(
        hidden_size=trunk["embed_dim"],
        num_attention_heads=trunk["num_heads"],
        image_size=[SIDE_PX, SIDE_PX],
        window_positional_embedding_background_size=trunk["window_pos_embed_bkg_spatial_size"],
        num_query_pool_stages=trunk["q_pool"],
        blocks_per_stage=trunk["stages"],
        embed_dim_per_stage=[trunk["embed_dim"] * 2**stage for stage in stages],
        num_attention_heads_per_stage=[trunk["num_heads"] * 2**stage for stage in stages],
        window_size_per_stage=trunk["window_spec"],
        global_attention_blocks=trunk["global_att_blocks"],
    )
    config = transformers.Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=neck["backbone_channel_list"],
        backbone_feature_sizes=[[SIDE_PX // stride, SIDE_PX // stride] for stride in (4, 8, 16)],
        fpn_top_down_levels=neck["fpn_top_down_levels"],
    )
    with torch.device("meta"):
        model = transformers.Sam2VisionModel(config)
    model.to_empty(device="cpu")
    model.load_state_dict({hugging_face_name(name): value for name, value in state_dict.items()}, strict=True)
    return model.eval()


@pytest.mark.parametrize("size", ["tiny", "small", "base_plus", "large"])
def test_features_equal_those_of_transformers(size: str):
    tree = load_encoder_config(f"sam2.1_hiera_{size}").tree
    with torch.device("meta"):
        encoder = instantiate_encoder(tree).eval()
    weights = fill(encoder.state_dict())
    encoder.load_state_dict(weights, strict=True, assign=True)
    reference = hugging_face_model(tree, weights)
    pixels_BCHW = pixels(SIDE_PX, SIDE_PX, batch=2)
    with torch.inference_mode():
        ours, theirs = encoder(pixels_BCHW), reference(pixels_BCHW)

    assert len(ours["backbone_fpn"]) == len(theirs.fpn_hidden_states) == 3
    pairs = [
        *zip(ours["backbone_fpn"], theirs.fpn_hidden_states, strict=True),
        *zip(ours["vision_pos_enc"], theirs.fpn_position_encoding, strict=True),
    ]
    for number, (actual, expected) in enumerate(pairs):
        assert actual.shape == expected.shape, number
        error = float((actual - expected).norm() / expected.norm())
        assert error < 1e-4, f"map {number} of {size}: relative L2 {error}"
