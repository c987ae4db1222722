"""transformers' SAM 2 image encoder in the published sizes, with random weights."""

import torch
from transformers import Sam2HieraDetConfig, Sam2VisionConfig, Sam2VisionModel

SIZES = {
    "sam2.1_hiera_tiny": {},
    "sam2.1_hiera_base_plus": {
        "hidden_size": 112,
        "num_attention_heads": 2,
        "blocks_per_stage": [2, 3, 16, 3],
        "embed_dim_per_stage": [112, 224, 448, 896],
        "num_attention_heads_per_stage": [2, 4, 8, 16],
        "window_size_per_stage": [8, 4, 14, 7],
        "global_attention_blocks": [12, 16, 20],
        "window_positional_embedding_background_size": [14, 14],
    },
}


def vision_model(name: str) -> torch.nn.Module:
    """The encoder, in float32 and eval mode; the weights are random."""
    backbone = Sam2HieraDetConfig(**SIZES[name])
    channels = list(backbone.embed_dim_per_stage)[::-1]
    return Sam2VisionModel(Sam2VisionConfig(backbone_config=backbone, backbone_channel_list=channels)).eval()
