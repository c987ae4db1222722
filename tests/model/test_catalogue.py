"""Names and paths of model files."""

from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.model.build import load_encoder_config
from pipeline.model.catalogue import find_model_file, model_names
from pipeline.model.published import PUBLISHED


def test_the_names_are_the_published_ones_and_the_debug_model():
    assert model_names() == sorted([*PUBLISHED, "hiera_debug"])


def test_the_two_families_have_the_same_encoders():
    for size in ("tiny", "small", "base_plus", "large"):
        assert load_encoder_config(f"sam2_hiera_{size}").tree == load_encoder_config(f"sam2.1_hiera_{size}").tree


def test_an_unknown_name_is_refused_with_the_nearest_and_all_others():
    with pytest.raises(
        ConfigError, match=r"unknown model 'sam2\.1_hiera_tin'; did you mean sam2\.1_hiera_tiny"
    ) as caught:
        find_model_file("sam2.1_hiera_tin")
    assert all(name in str(caught.value) for name in model_names())


@pytest.mark.parametrize("config", ["nowhere/x", "x.yaml", "x.yml", Path("x")])
def test_a_missing_file_is_refused_with_its_full_path(
    config: str | Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=f"there is no model file {tmp_path / config}"):
        find_model_file(config)


def test_a_file_in_the_working_folder_needs_no_ending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("mine").touch()
    assert find_model_file("mine") == tmp_path / "mine"
