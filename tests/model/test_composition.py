"""Hydra sees a checked copy in a folder of its own; overrides are judged before and after it."""

from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from pipeline.errors import ConfigError
from pipeline.model.composition import compose_model_file, find_encoder, first_line

DEBUG = Path(__file__).parents[2] / "configs" / "model" / "hiera_debug.yaml"
PUBLISHED = Path(__file__).parents[1] / "parity" / "sam2_hiera_t.yaml"


def test_a_file_is_composed_with_its_overrides_and_stays_unresolved():
    composed = compose_model_file(DEBUG, ["neck.fuse_type=avg", "neck.d_model=${neck.position_encoding.num_pos_feats}"])
    plain = OmegaConf.to_container(composed, resolve=False)
    assert plain["neck"]["fuse_type"] == "avg"
    assert plain["neck"]["d_model"] == "${neck.position_encoding.num_pos_feats}"
    assert "hydra" not in plain
    assert not GlobalHydra.instance().is_initialized()


def test_without_overrides_it_is_the_file():
    assert compose_model_file(DEBUG, []) == OmegaConf.load(DEBUG)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("neck.fuse_type=${oc.env:HOME}", "calls a resolver"),
        ("neck.${oc.env:HOME}=1", "calls a resolver"),
        ("neck.backbone_channel_list=[" + "${scalp}," * 17 + "1]", "more than 16 interpolations"),
        ("hydra/job_logging=evil", "touches Hydra"),
        ("hydra.searchpath=[pkg://evil]", "touches Hydra"),
        ("+defaults=[evil]", "touches Hydra"),
        ("neck@hydra.searchpath=evil", "touches Hydra"),
        ("neck.d_model=[", "cannot apply neck.d_model=["),
    ],
)
def test_overrides_that_do_more_than_set_a_key_are_refused(override: str, said: str):
    with pytest.raises(ConfigError) as caught:
        compose_model_file(DEBUG, [override])
    assert said in str(caught.value)


def test_the_encoder_is_found_where_it_lies():
    assert find_encoder(compose_model_file(DEBUG, []), DEBUG) == ""
    assert find_encoder(compose_model_file(PUBLISHED, []), PUBLISHED) == "model.image_encoder"
    with pytest.raises(ConfigError, match=r"x\.yaml has no image encoder: its root has a, b"):
        find_encoder(OmegaConf.create({"a": 1, "b": {"trunk": 1}}), Path("x.yaml"))


def test_the_first_line_says_at_least_which_error():
    assert first_line(ValueError("a\nb")) == "a"
    assert first_line(KeyError()) == "KeyError"
