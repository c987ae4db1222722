"""What is kept of the encoder's output: shapes found without computing, stored order, pooled vectors."""

import numpy as np
import pytest
import torch

import pipeline
from pipeline.errors import ConfigError
from pipeline.model.build import load_encoder_config
from pipeline.model.outputs import map_specs, pool, position_encodings, stored_features


@pytest.mark.parametrize("name", ["sam2_hiera_tiny", "sam2.1_hiera_base_plus", "sam2.1_hiera_large"])
def test_published_models_give_three_levels_of_44_megabytes(name):
    config = load_encoder_config(name)
    maps = map_specs(config.tree, side_px=config.side_px, kind="fpn", dtype="float16")
    assert [(spec.column, spec.shape_chw, spec.stride_px) for spec in maps] == [
        ("fpn_0", (256, 256, 256), 4),
        ("fpn_1", (256, 128, 128), 8),
        ("fpn_2", (256, 64, 64), 16),
    ]
    assert sum(spec.size_bytes for spec in maps) == 44_040_192


def test_choices_of_features():
    tree = load_encoder_config("hiera_debug").tree
    chosen = {kind: map_specs(tree, side_px=128, kind=kind, dtype="float32") for kind in ("fpn", "embed", "pooled")}
    assert [spec.column for spec in chosen["fpn"]] == ["fpn_0", "fpn_1", "fpn_2"]
    assert [spec.column for spec in chosen["embed"]] == ["fpn_2"]
    assert chosen["pooled"] == ()


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["scalp=0", "neck.fpn_top_down_levels=null", "neck.fpn_interp_model=bilinear"],
        ["trunk.window_spec=[8,4,15,7]"],
        ["neck.kernel_size=3", "neck.padding=1", "neck.d_model=64", "neck.position_encoding.num_pos_feats=64"],
    ],
    ids=" ".join,
)
def test_the_maps_are_those_of_a_forward_pass(overrides: list[str]):
    tree = load_encoder_config("hiera_debug", overrides).tree
    maps = map_specs(tree, side_px=192, kind="fpn", dtype="float16")
    encoder = pipeline.build_encoder("hiera_debug", checkpoint="random", overrides=overrides)
    levels = encoder(torch.zeros(1, 3, 192, 192))["backbone_fpn"]
    assert [spec.shape_chw for spec in maps] == [tuple(level.shape[1:]) for level in levels]
    assert [spec.stride_px for spec in maps] == [192 // level.shape[-1] for level in levels]


def test_a_side_the_encoder_does_not_take_is_a_config_error():
    with pytest.raises(ConfigError, match="100 x 100"):
        map_specs(load_encoder_config("hiera_debug").tree, side_px=100, kind="fpn", dtype="float16")


def test_stored_features_are_the_output_in_another_order():
    config = load_encoder_config("hiera_debug")
    maps = map_specs(config.tree, side_px=64, kind="fpn", dtype="float32")
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    output = pipeline.build_encoder("hiera_debug", checkpoint="random")(pixels)
    stored = stored_features(output, maps)
    for spec in maps:
        np.testing.assert_array_equal(
            stored.maps[spec.column].transpose(0, 3, 1, 2), output["backbone_fpn"][spec.level]
        )
    means = output["vision_features"].mean(dim=(2, 3)).numpy()
    np.testing.assert_allclose(stored.embeddings, means / np.linalg.norm(means, axis=1, keepdims=True), rtol=1e-5)
    assert pool(output).dtype == torch.float32
    assert stored.is_finite.tolist() == [True, True]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 70_000.0])
def test_one_number_that_cannot_be_stored_marks_its_image(value):
    maps = map_specs(load_encoder_config("hiera_debug").tree, side_px=64, kind="fpn", dtype="float16")
    levels = [torch.randn(3, *spec.shape_chw) for spec in maps]
    levels[1][1, 7, 3, 2] = value
    output = {"backbone_fpn": levels, "vision_features": levels[-1]}
    assert stored_features(output, maps).is_finite.tolist() == [True, False, True]


def test_position_encodings_need_no_image():
    config = load_encoder_config("hiera_debug")
    maps = map_specs(config.tree, side_px=64, kind="fpn", dtype="float16")
    output = pipeline.build_encoder("hiera_debug", checkpoint="random")(torch.zeros(1, 3, 64, 64))
    for spec, values in zip(maps, position_encodings(config.tree, maps).values(), strict=True):
        np.testing.assert_array_equal(values.transpose(2, 0, 1), output["vision_pos_enc"][spec.level][0])
