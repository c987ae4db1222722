"""From a name or a file to an encoder: files as users have them, overrides, and errors of one clear sentence."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from pipeline.errors import ConfigError
from pipeline.model.build import (
    EncoderConfig,
    assemble_encoder,
    build_encoder,
    instantiate_encoder,
    load_encoder_config,
    model_names,
)
from pipeline.model.weights import Weights

PUBLISHED = Path(__file__).parents[1] / "parity" / "sam2_hiera_t.yaml"
SHIPPED = Path(__file__).parents[2] / "configs" / "model"


def write(folder: Path, text: str, name: str = "model.yaml") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", model_names())
def test_every_shipped_model_builds(name: str):
    config = load_encoder_config(name)
    assert (config.name, config.side_px) == (name, 128 if name == "hiera_debug" else 1024)
    with torch.device("meta"):
        assert instantiate_encoder(config.tree).scalp == 1


def test_a_configuration_is_plain_and_travels():
    config = load_encoder_config("hiera_debug")
    copy: EncoderConfig = pickle.loads(pickle.dumps(config))  # noqa: S301  our own bytes
    assert copy == config

    def check(node: Any) -> None:
        assert type(node) in (dict, list, str, int, float, bool, type(None)), node
        for item in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            check(item)

    check(config.tree)


def test_the_published_file_is_accepted_unchanged_and_is_our_tiny():
    published, ours = load_encoder_config(PUBLISHED), load_encoder_config("sam2_hiera_tiny")
    assert (published.name, published.side_px) == ("sam2_hiera_t", 1024)
    with torch.device("meta"):
        theirs, mine = instantiate_encoder(published.tree), instantiate_encoder(ours.tree)
    assert repr(theirs) == repr(mine)
    shapes = [{k: v.shape for k, v in encoder.state_dict().items()} for encoder in (theirs, mine)]
    assert shapes[0] == shapes[1]
    assert theirs.neck.fpn_interp_model == mine.neck.fpn_interp_model == "nearest"


@pytest.mark.parametrize("override", ["neck.fuse_type=avg", "model.image_encoder.neck.fuse_type=avg"])
@pytest.mark.parametrize("config", [PUBLISHED, "sam2_hiera_tiny"])
def test_overrides_hold_with_and_without_the_published_prefix(config: str | Path, override: str):
    assert load_encoder_config(config, [override]).tree["neck"]["fuse_type"] == "avg"


def test_overrides_of_sections_that_are_not_built_are_accepted():
    config = load_encoder_config(
        str(PUBLISHED),
        [
            "++model.sam_mask_decoder_extra_args.dynamic_multimask_stability_thresh=0.98",
            "model.memory_attention.d_model=128",
            "model.image_size=512",
            "scalp=0",
        ],
    )
    assert (config.side_px, config.tree["scalp"]) == (512, 0)


def test_a_package_header_other_endings_and_odd_names_are_accepted(tmp_path: Path):
    text = "# @package _global_\n" + PUBLISHED.read_text()
    for name in ("m.yaml", "m.yml", "with space,comma=equals/sam2.1_hiera_b+.yaml"):
        path = write(tmp_path, text, name)
        assert load_encoder_config(path).tree == load_encoder_config(PUBLISHED).tree


def test_an_encoder_alone_or_under_its_own_key_is_accepted(tmp_path: Path):
    text = (SHIPPED / "hiera_debug.yaml").read_text()
    indented = "image_size: 64\nimage_encoder:\n" + "".join(f"  {line}\n" for line in text.splitlines())
    config = load_encoder_config(write(tmp_path, indented), ["trunk.embed_dim=16"])
    assert (config.side_px, config.tree) == (64, load_encoder_config("hiera_debug").tree)


def test_interpolations_between_keys_are_resolved(tmp_path: Path):
    text = (SHIPPED / "hiera_debug.yaml").read_text()
    path = write(tmp_path, text.replace("d_model: 256", "d_model: ${neck.position_encoding.num_pos_feats}"))
    assert load_encoder_config(path, ["neck.position_encoding.num_pos_feats=64"]).tree["neck"]["d_model"] == 64


@pytest.mark.parametrize(
    "value", ["${oc.env:HOME}", "${oc.decode:x}", "a ${ oc.env : HOME }", "${neck.${oc.env:KEY}}", "${hydra:run.dir}"]
)
def test_resolvers_are_refused_anywhere_in_the_file(tmp_path: Path, value: str):
    text = PUBLISHED.read_text().replace("activation: relu", f"activation: '{value}'")
    with pytest.raises(ConfigError, match="calls a resolver, which a configuration must not"):
        load_encoder_config(write(tmp_path, text))


def test_resolvers_are_refused_in_overrides_too():
    with pytest.raises(ConfigError, match="calls a resolver"):
        load_encoder_config("hiera_debug", ["neck.fuse_type='${oc.env:HOME}'"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no image encoder: its root has nothing"),
        ("model: {backbone: {}}", "has no image encoder: its root has model"),
        ("- 1", "is not a model file"),
        ("a: [", "is not a model file"),
        ("defaults: [missing]", "has .defaults. at its root, which steers Hydra"),
        ("trunk: {}\nneck: {}", "the root must be pipeline.model.image_encoder.ImageEncoder, but its _target_ is None"),
        ("image_size: ${nope}\nimage_encoder: {trunk: 1}", "does not resolve: Interpolation key 'nope' not found"),
    ],
)
def test_files_that_are_no_model_files_are_refused_in_one_line(tmp_path: Path, text: str, message: str):
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_encoder_config(path)
    assert "\n" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("neck.nope=1", "FpnNeck has no argument 'nope'"),
        ("+neck.position_encoding.nope=1", "PositionEmbeddingSine has no argument 'nope'"),
        ("neck.d_model=1,2", r"cannot apply neck\.d_model=1,2"),
        ("neck.d_model=[", r"cannot apply neck\.d_model=\["),
        ("neck.d_model=${.nope}", "does not resolve: Interpolation key 'nope' not found"),
        ("neck.d_model=???", "does not resolve: Missing mandatory value: d_model"),
        ("neck._target_=os.system", r"_target_ 'os\.system' at neck is not allowed"),
        ("+trunk._partial_=true", r"trunk\._partial_ is not allowed"),
        ("~neck.d_model", r"neck\.d_model is missing"),
        ("hydra.run.dir=x", "touches Hydra"),
        ("neck.d_model=abc", "neck.d_model='abc' is not of the type int"),
        ("neck.position_encoding.image_size=0", "image_size=0 in .* must be a positive number of pixels"),
    ],
)
def test_overrides_that_do_not_apply_are_refused_in_one_line(override: str, message: str):
    with pytest.raises(ConfigError, match=message) as caught:
        load_encoder_config("hiera_debug", [override])
    assert "\n" not in str(caught.value)


def test_an_unknown_key_of_another_section_is_refused_as_hydra_does():
    with pytest.raises(ConfigError, match=r"cannot apply model\.nope=1 .*Could not override 'model\.nope'"):
        load_encoder_config(PUBLISHED, ["model.nope=1"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("neck.fuse_type=max", "cannot build the neck of the model: fuse_type='max' is unknown"),
        ("trunk.q_pool=9", "cannot build the trunk of the model: q_pool=9"),
        ("neck.position_encoding.num_pos_feats=7", r"cannot build the neck\.position_encoding .*num_pos_feats=7"),
        ("neck.backbone_channel_list=[1,2,3,4]", "cannot build the image encoder .*backbone_channel_list"),
        ("trunk.weights_path=x.pt", "weights_path='x.pt' is not supported"),
        ("neck.kernel_size=-1", "cannot build the neck of the model"),
    ],
)
def test_arguments_that_do_not_fit_become_config_errors_with_their_place(override: str, message: str):
    tree = load_encoder_config("hiera_debug", [override]).tree
    with pytest.raises(ConfigError, match=message):
        instantiate_encoder(tree)


def test_targets_are_checked_again_before_anything_is_built(tmp_path: Path):
    tree = load_encoder_config("hiera_debug").tree
    trap = tmp_path / "trap"
    tree["trunk"]["stages"] = [{"_target_": "pathlib.Path.touch", "self": str(trap)}]
    with pytest.raises(ConfigError, match=r"pathlib\.Path\.touch"):
        instantiate_encoder(tree)
    assert not trap.exists()


def test_a_hydra_that_a_caller_had_set_up_is_left_as_it_was():
    assert not GlobalHydra.instance().is_initialized()
    with initialize_config_dir(str(SHIPPED), version_base="1.2"):
        before = GlobalHydra.instance().hydra
        load_encoder_config(PUBLISHED, ["scalp=0"])
        with pytest.raises(ConfigError):
            load_encoder_config("hiera_debug", ["neck.nope=1"])
        assert GlobalHydra.instance().hydra is before
        assert compose("hiera_debug").trunk.embed_dim == 16
    assert not GlobalHydra.instance().is_initialized()
    load_encoder_config("hiera_debug")
    assert not GlobalHydra.instance().is_initialized()


def test_a_built_encoder_is_frozen_in_eval_mode_and_float32():
    encoder = build_encoder("hiera_debug", checkpoint="random:3", overrides=["scalp=0"], precision="bf16")
    assert not encoder.training
    assert encoder.compute_dtype == torch.bfloat16
    assert {(p.dtype, p.requires_grad, p.device.type) for p in encoder.parameters()} == {(torch.float32, False, "cpu")}
    output = encoder(torch.zeros(1, 3, 128, 128))
    assert len(output["backbone_fpn"]) == 4
    assert not output["vision_features"].requires_grad


def test_what_a_worker_assembles_is_what_build_encoder_builds():
    built = build_encoder("hiera_debug", checkpoint="random")
    assembled = assemble_encoder(load_encoder_config("hiera_debug").tree, Weights("random", seed=0))
    for (name, a), b in zip(built.state_dict().items(), assembled.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_leaving_the_checkpoint_out_is_an_error_that_says_what_there_is():
    with pytest.raises(ConfigError, match=r"no checkpoint is named; give .*published, random .* or auto"):
        build_encoder("hiera_debug", checkpoint=None)


@pytest.mark.parametrize(("option", "value"), [("device", "tpu"), ("precision", "fp64"), ("device", "cuda:99")])
def test_what_the_machine_cannot_do_is_refused_before_weights_are_looked_for(option: str, value: str):
    with pytest.raises(ConfigError, match=value):
        build_encoder("hiera_debug", checkpoint="/nowhere/x.pt", **{option: value})
