"""What is kept of the encoder's output: shapes found without computing, stored order, pooled vectors."""

import numpy as np
import pytest
import torch

import pipeline
from pipeline.errors import ConfigError
from pipeline.featureset.maps import MapSpec, scaled
from pipeline.model.build import load_encoder_config
from pipeline.model.outputs import FeatureChoice, map_specs, pool, position_encodings, stored_features


@pytest.mark.parametrize("name", ["sam2_hiera_tiny", "sam2.1_hiera_base_plus", "sam2.1_hiera_large"])
def test_published_models_give_three_levels_of_44_megabytes(name):
    config = load_encoder_config(name)
    maps = map_specs(config.tree, config.side_px, FeatureChoice())
    assert [(spec.column, spec.shape_chw, spec.stride_px) for spec in maps] == [
        ("fpn_0", (256, 256, 256), 4),
        ("fpn_1", (256, 128, 128), 8),
        ("fpn_2", (256, 64, 64), 16),
    ]
    assert sum(spec.size_bytes for spec in maps) == 44_040_192


def test_choices_of_features():
    tree = load_encoder_config("hiera_debug").tree
    chosen = {kind: map_specs(tree, 128, FeatureChoice(kind)) for kind in ("fpn", "embed", "pooled")}
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
    maps = map_specs(tree, 192, FeatureChoice())
    encoder = pipeline.build_encoder("hiera_debug", checkpoint="random", overrides=overrides)
    levels = encoder(torch.zeros(1, 3, 192, 192))["backbone_fpn"]
    assert [spec.shape_chw for spec in maps] == [tuple(level.shape[1:]) for level in levels]
    assert [spec.stride_px for spec in maps] == [192 // level.shape[-1] for level in levels]


def test_a_side_the_encoder_does_not_take_is_a_config_error():
    with pytest.raises(ConfigError, match="100 x 100"):
        map_specs(load_encoder_config("hiera_debug").tree, 100, FeatureChoice())


def test_stored_features_are_the_output_in_another_order():
    config = load_encoder_config("hiera_debug")
    maps = map_specs(config.tree, 64, FeatureChoice(dtypes=("float32",)))
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
    maps = map_specs(load_encoder_config("hiera_debug").tree, 64, FeatureChoice())
    levels = [torch.randn(3, *spec.shape_chw) for spec in maps]
    levels[1][1, 7, 3, 2] = value
    output = {"backbone_fpn": levels, "vision_features": levels[-1]}
    assert stored_features(output, maps).is_finite.tolist() == [True, False, True]


def test_position_encodings_need_no_image():
    config = load_encoder_config("hiera_debug")
    maps = map_specs(config.tree, 64, FeatureChoice())
    output = pipeline.build_encoder("hiera_debug", checkpoint="random")(torch.zeros(1, 3, 64, 64))
    for spec, values in zip(maps, position_encodings(config.tree, maps).values(), strict=True):
        np.testing.assert_array_equal(values.transpose(2, 0, 1), output["vision_pos_enc"][spec.level][0])


def test_what_the_mask_decoder_takes_is_a_fifth_of_all_levels():
    config = load_encoder_config("sam2.1_hiera_tiny")
    maps = map_specs(config.tree, config.side_px, FeatureChoice("decoder"))
    assert [(spec.column, spec.shape_chw) for spec in maps] == [
        ("high_res_0", (32, 256, 256)),
        ("high_res_1", (64, 128, 128)),
        ("fpn_2", (256, 64, 64)),
    ]
    assert sum(spec.size_bytes for spec in maps) == 8_388_608


def test_levels_dtypes_and_layout_are_chosen_map_by_map():
    tree = load_encoder_config("hiera_debug").tree
    choice = FeatureChoice("fpn", ("int8", "float32"), levels=(2, 0), layout="tensor", grid=4)
    chosen = [(spec.column, spec.dtype, spec.layout, spec.shape_chw) for spec in map_specs(tree, 128, choice)]
    assert chosen == [
        ("fpn_0", "int8", "tensor", (256, 32, 32)),
        ("fpn_2", "float32", "tensor", (256, 8, 8)),
        ("grid", "float16", "tensor", (256, 4, 4)),
    ]


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        (FeatureChoice(levels=(0, 3)), r"features\.levels=\[0, 3\]: features=fpn has levels \[0, 1, 2\]"),
        (FeatureChoice("embed", levels=(0,)), r"features=embed has levels \[2\]"),
        (FeatureChoice(levels=()), r"features\.levels=\[\]"),
        (FeatureChoice(dtypes=("int8", "int8")), r"storage_dtype names 2 dtypes for 3 maps: give one, or one each"),
        (FeatureChoice(grid=8), r"features\.grid=8 is finer than the coarsest level, 4 x 4 cells"),
    ],
)
def test_a_choice_that_cannot_be_is_refused(choice: FeatureChoice, said: str):
    with pytest.raises(ConfigError, match=said):
        map_specs(load_encoder_config("hiera_debug").tree, 64, choice)


def output_of(*levels: torch.Tensor) -> dict[str, object]:
    return {"backbone_fpn": list(levels), "vision_features": levels[-1]}


def test_integers_stand_for_each_channel_to_half_a_step():
    spec = MapSpec("fpn_0", 0, (5, 16, 16), "int8", 4)
    values_NCHW = torch.randn(2, 5, 16, 16) * torch.logspace(-3, 3, 5)[:, None, None]
    values_NCHW[1, 3] = 0
    stored = stored_features(output_of(values_NCHW), (spec,))
    assert stored.maps["fpn_0"].dtype == np.int8
    read_NHWC = scaled(stored.maps["fpn_0"], stored.maps["fpn_0_scale"])
    step_NC = values_NCHW.abs().amax(dim=(2, 3)).numpy() / 127
    off_NHWC = np.abs(read_NHWC - values_NCHW.permute(0, 2, 3, 1).numpy())
    assert (off_NHWC <= 0.501 * step_NC[:, None, None]).all()
    assert np.abs(stored.maps["fpn_0"]).max() == 127
    assert stored.is_finite.tolist() == [True, True]
    assert set(stored.of_image(1)) == {"fpn_0", "fpn_0_scale", "embedding"}


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_number_that_no_integer_can_stand_for_marks_its_image(value: float):
    values_NCHW = torch.randn(2, 5, 16, 16)
    values_NCHW[1, 2, 3, 4] = value
    coarse = torch.randn(2, 5, 4, 4)
    stored = stored_features(output_of(values_NCHW, coarse), (MapSpec("fpn_0", 0, (5, 16, 16), "int8", 4),))
    assert stored.is_finite.tolist() == [True, False]


def test_a_grid_holds_the_direction_of_the_mean_of_each_cell():
    level = torch.randn(2, 6, 8, 8)
    stored = stored_features(output_of(level), (MapSpec("grid", 0, (6, 4, 4), "float16", 32),))
    cell = level[1, :, 2:4, 6:8].mean(dim=(1, 2))
    np.testing.assert_allclose(stored.maps["grid"][1, 1, 3], (cell / cell.norm()).numpy(), atol=1e-3)


def test_gem_is_the_cube_root_of_the_mean_of_cubes_of_what_is_positive():
    level = torch.randn(2, 6, 8, 8)
    cubes = level.clamp(min=1e-6).double().pow(3).mean(dim=(2, 3)).pow(1 / 3)
    expected = cubes / cubes.norm(dim=1, keepdim=True)
    np.testing.assert_allclose(pool(output_of(level), "gem").numpy(), expected.numpy(), rtol=1e-4)
