"""Every shipped configuration composes, resolves and is taken by the code that reads it."""

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIGS = REPOSITORY / "configs"
sys.path.insert(0, str(REPOSITORY / "jobs"))

from job import compose_values, model_overrides  # noqa: E402

from pipeline.config import job_config  # noqa: E402
from pipeline.errors import ConfigError  # noqa: E402

CHOICES = [f"{path.parent.name}={path.stem}" for path in sorted(CONFIGS.glob("*/*.yaml"))]


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_composes_into_a_checked_config(choice):
    place = [] if choice == "source=sample" else ["source.uri=/photos"]
    values = compose_values("embed", [choice, "model.checkpoint=random", *place])
    choices, model = values.pop("choices"), values["model"]
    group, _, chosen = choice.partition("=")
    assert choices[group] == chosen
    values["model"] = {"name": choices["model"], "config": None, "checkpoint": model["checkpoint"], "overrides": ()}
    config = job_config(values)
    assert {"source": config.source.kind, "model": config.model.name, "features": config.features.kind}[group] == chosen


def test_defaults_are_those_of_the_contract():
    values = compose_values("embed", [])
    assert values["choices"] == {"features": "fpn", "model": "sam2.1_hiera_tiny", "source": "directory"}
    assert values["sink"]["uri"] == "outputs/features"
    assert values["features"]["storage_dtype"] == "float16"
    assert values["model"]["checkpoint"] is None


def test_model_overrides_are_handed_on_relative_to_the_encoder():
    overrides = ["model=hiera_debug", "model.checkpoint=random", "model.neck.fuse_type=avg", "~model.trunk.x", "a=b"]
    published = ["model.image_encoder.scalp=0", "++model.image_size=512"]
    assert model_overrides([*overrides, *published]) == ("neck.fuse_type=avg", "~trunk.x", *published)
    assert compose_values("embed", [*overrides[:-1], *published])["choices"]["model"] == "hiera_debug"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("sorce.uri=x", "did you mean source.uri"),
        ("model=sam3", "choices: hiera_debug, sam2.1_hiera_base_plus"),
        ("features=fpm", "choices: embed, fpn, pooled"),
        ("model=null", "choices: hiera_debug"),
        ("execution.device", "write field=value"),
        ("--device=cpu", "write field=value"),
        ("hydra.searchpath=[file:///tmp]", "write field=value"),
        ("execution.num_encoders=[1", "'[1'"),
    ],
)
def test_a_bad_override_is_one_line_that_says_what_to_do(override, said):
    with pytest.raises(ConfigError) as caught:
        compose_values("embed", [override])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "path",
    ["/data/émile", "/a (1)/b", "/x=1", "/it's", "/a,b", "~/a b", '/q"u', "/a#1?b", "/[0]/{a}", "/back\\slash\\"],
)
def test_a_path_means_itself_whatever_it_holds(path):
    assert compose_values("embed", [f"source.uri={path}"])["source"]["uri"] == path


def test_help_shows_every_field_and_choice():
    shown = subprocess.run(
        [sys.executable, "jobs/embed.py", "--help"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    for word in ("images_per_unit", "model=hiera_debug|", "source=directory|sample", "published, random, auto"):
        assert word in shown
