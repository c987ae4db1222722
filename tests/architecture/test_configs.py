"""Every shipped configuration composes, resolves and is taken by the code that reads it."""

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIGS = REPOSITORY / "configs"
sys.path.insert(0, str(REPOSITORY / "jobs"))

from embed import with_model  # noqa: E402
from job import compose_values, model_overrides  # noqa: E402

from pipeline.config import AbandonConfig, CleanConfig, RepairConfig, VerifyConfig, checked, checked_job, job_config  # noqa: E402
from pipeline.errors import ConfigError  # noqa: E402
from pipeline.export_config import BuildIndexConfig, FindDuplicatesConfig, search_config  # noqa: E402
from pipeline.plan_config import PlanConfig  # noqa: E402
from pipeline.sources.directory import IMAGE_SUFFIXES  # noqa: E402
from pipeline.sources.video import VIDEO_SUFFIXES  # noqa: E402

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
    kinds = {"source": config.source, "features": config.features, "preprocess": config.preprocess}
    assert (config.model.name if group == "model" else kinds[group].kind) == chosen


def test_defaults_are_those_of_the_contract():
    values = compose_values("embed", [])
    choices = {"features": "fpn", "model": "sam2.1_hiera_tiny", "preprocess": "whole", "source": "directory"}
    assert values["choices"] == choices
    assert values["sink"]["uri"] == "outputs/features"
    assert values["features"]["storage_dtype"] == "float16"
    assert values["model"]["checkpoint"] is None


@pytest.mark.parametrize(
    ("source", "suffixes"), [("directory", IMAGE_SUFFIXES), ("tar", IMAGE_SUFFIXES), ("video", VIDEO_SUFFIXES)]
)
def test_a_source_takes_the_same_suffixes_from_its_file_as_without(source: str, suffixes: tuple[str, ...]):
    assert compose_values("embed", [f"source={source}"])["source"]["suffixes"] == list(suffixes)


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
        ("features=fpm", "choices: decoder, embed, fpn, pooled"),
        ("preprocess.tile_px=512", "did you mean"),
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


@pytest.mark.parametrize(
    ("kind", "overrides", "fields"),
    [
        (VerifyConfig, ["level=full"], {"level": "full"}),
        (CleanConfig, ["older_than_hours=1.5"], {"older_than_hours": 1.5}),
        (AbandonConfig, ["run=3"], {"run": 3}),
    ],
)
def test_the_configuration_of_every_small_job_composes_into_a_checked_one(kind, overrides, fields):
    values = compose_values(kind.__name__.removesuffix("Config").lower(), [*overrides, "sink.uri=/a (1)/b"])
    assert values.pop("choices") == {}
    config = checked(kind, values)
    assert config.sink.uri == "/a (1)/b"
    assert {field: getattr(config, field) for field in fields} == fields


def test_a_repair_takes_what_the_embed_job_takes_and_a_level():
    overrides = ["source=sample", "model=hiera_debug", "model.checkpoint=random", "model.neck.fuse_type=avg"]
    values = with_model(compose_values("repair", [*overrides, "level=sizes"]), overrides)
    config = checked_job(values, RepairConfig)
    assert (config.level, config.source.kind, config.model.name) == ("sizes", "sample", "hiera_debug")
    assert config.model.overrides == ("neck.fuse_type=avg",)
    assert checked_job({key: value for key, value in values.items() if key != "level"}, RepairConfig).level == "full"


def test_a_plan_takes_what_the_embed_job_takes_and_what_it_is_to_reckon_with():
    overrides = ["source=sample", "model=hiera_debug", "model.checkpoint=random", "plan.link_gbit_s=10"]
    config = checked_job(with_model(compose_values("plan", overrides), overrides), PlanConfig)
    assert (config.plan.link_gbit_s, config.plan.measure_images, config.prices.put_1000) == (10, None, 0.005)
    embed = compose_values("embed", overrides[:-1])
    values = compose_values("plan", overrides)
    assert {name: values[name] for name in embed} == embed


@pytest.mark.parametrize(
    ("kind", "job", "overrides"),
    [
        (BuildIndexConfig, "build_index", ["vectors=grid", "index.uri=/i (1)"]),
        (FindDuplicatesConfig, "find_duplicates", ["min_similarity=0.9", "output=/d (1).parquet", "sheet=/s,1.png"]),
    ],
)
def test_the_configuration_of_jobs_that_read_features_composes_into_a_checked_one(kind, job, overrides):
    values = compose_values(job, [*overrides, "features.uri=/a (1)/b"])
    assert values.pop("choices") == {}
    config = checked(kind, values)
    assert config.features.uri == "/a (1)/b"
    for override in overrides:
        field, _, value = override.partition("=")
        found = config.index.uri if field == "index.uri" else getattr(config, field)
        assert str(found) == value


@pytest.mark.parametrize("image_id", ["0001", "a (1).jpg", "x=1", "é😀/[0].jpg", "null.jpg"])
def test_an_image_id_means_itself_whatever_it_holds(image_id):
    values = compose_values("search", [f"image_id={image_id}", "region=[0,0.25,1,1]", "k=3"])
    assert values.pop("choices") == {}
    config = search_config(values)
    assert (config.image_id, config.region, config.k) == (image_id, (0, 0.25, 1, 1), 3)


@pytest.mark.parametrize(
    ("job", "arguments", "said"),
    [
        ("verify", ["levl=full"], "did you mean level"),
        ("verify", ["level=fall"], "'counts', 'sizes', 'footers' or 'full'"),
        ("verify", ["model=hiera_debug"], "there is no field model"),
        ("verify", ["model.neck.fuse_type=avg"], "there is no field model.neck.fuse_type"),
        ("clean", ["older_than_hour=5"], "did you mean older_than_hours"),
        ("clean", ["older_than_hours=0.99", "--yes"], "greater than or equal to 1"),
        ("abandon", ["runs=3"], "did you mean run"),
        ("abandon", [], "run is missing"),
        ("export_feast", ["exports.uri=x"], "did you mean export.uri"),
        ("export_feast", ["export.uri=null"], "export.uri=None"),
        ("plan", ["source=sample", "plan.link_gbits=8"], "did you mean plan.link_gbit_s"),
        ("repair", ["source=sampel"], "choices: directory, manifest, parquet, sample"),
        ("build_index", ["vector=grid"], "did you mean vectors"),
        ("search", ["image_uri=x"], "did you mean image_id"),
        ("find_duplicates", ["output=d", "similarity=0.9"], "did you mean min_similarity"),
        ("report", ["images=0"], "greater than or equal to 1"),
        *((job, ["--yes"], "'--yes' is not an override") for job in ("embed", "verify", "repair", "abandon")),
    ],
)
def test_every_job_refuses_in_one_line_what_it_does_not_know(job, arguments, said):
    command = [sys.executable, f"jobs/{job}.py", *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 64, done
    assert len(done.stderr.splitlines()) == 1, done
    assert said in done.stderr


@pytest.mark.parametrize(
    ("job", "words"),
    [
        ("plan", ["measure_images:", "gpu_hour:", "patience_s:"]),
        ("verify", ["level: sizes", "sink:"]),
        ("clean", ["older_than_hours: 72", "--yes"]),
        ("abandon", ["run: null"]),
        ("export_feast", ["export:", "uri: outputs/feast"]),
        ("build_index", ["vectors: pooled"]),
        ("search", ["k: 10", "region: null"]),
        ("find_duplicates", ["min_similarity: 0.98"]),
        ("report", ["images: 2000", "dollars_per_gb_month: 0.023"]),
        ("repair", ["level: full", "images_per_unit", "model=hiera_debug|"]),
    ],
)
def test_every_job_has_help(job, words):
    shown = subprocess.run(
        [sys.executable, f"jobs/{job}.py", "--help"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    assert [word for word in words if word not in shown] == []


def test_help_shows_every_field_and_choice():
    shown = subprocess.run(
        [sys.executable, "jobs/embed.py", "--help"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    for word in (
        "images_per_unit",
        "model=hiera_debug|",
        "source=directory|manifest|parquet|sample|tar",
        "published, random, auto",
    ):
        assert word in shown
