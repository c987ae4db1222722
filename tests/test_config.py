"""Configuration: plain values become typed ones, and what is wrong is named with its value."""

from copy import deepcopy
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from pipeline.config import JobConfig, job_config
from pipeline.errors import ConfigError

VALUES: dict[str, dict[str, Any]] = {
    "source": {"kind": "directory", "uri": "/data/photos", "suffixes": [".jpg"]},
    "sink": {"uri": "outputs/features"},
    "model": {"name": "hiera_debug", "config": None, "checkpoint": "random", "overrides": ["neck.fuse_type=avg"]},
    "features": {"kind": "fpn", "storage_dtype": "float16"},
    "preprocess": {"side_px": None},
    "execution": {"precision": "auto", "device": "auto", "images_per_unit": 3, "num_encoders": None},
}


def with_field(field: str, value: Any) -> dict[str, Any]:
    """The good values but for one."""
    values = deepcopy(VALUES)
    group, _, name = field.partition(".")
    if name:
        values[group][name] = value
    else:
        values[group] = value
    return values


def complaint(values: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        job_config(values)
    return str(caught.value)


def test_plain_values_become_typed_ones():
    config = job_config(VALUES)
    assert isinstance(config, JobConfig)
    assert config.source.suffixes == (".jpg",)
    assert config.model.overrides == ("neck.fuse_type=avg",)
    assert config.execution.images_per_unit == 3


def test_what_is_left_out_takes_its_default():
    values = deepcopy(VALUES)
    values["execution"], values["features"] = {}, {"kind": "pooled"}
    config = job_config(values)
    assert config.features.storage_dtype == ("float16",)
    assert (config.execution.precision, config.execution.device) == ("auto", "auto")
    assert config.execution.ray_logs is False
    assert (config.execution.decode_timeout_s, config.execution.decode_memory_gib) == (60.0, 6.0)
    assert (config.execution.decode_max_megapixels, config.execution.decode_max_mib) == (64.0, 256.0)
    assert config.preprocess.background == (255, 255, 255)
    assert config.execution.patience_s == 300.0
    assert (config.run.retry_quarantined, config.run.max_failed_share) == ("none", None)


def test_images_are_whole_unless_tiles_are_asked_for():
    whole = job_config(VALUES).preprocess
    assert (whole.kind, whole.frames) == ("whole", "first")
    tiles = job_config(with_field("preprocess", {"kind": "tiles", "side_px": 512})).preprocess
    assert (tiles.kind, tiles.tile_px, tiles.overlap_px, tiles.side_px) == ("tiles", 1024, 128, 512)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"overlap_px": 513}, "preprocess.overlap_px=513 is more than half of tile_px=1024"),
        ({"tile_px": 255}, "preprocess.tile_px=255: input should be greater than or equal to 256"),
        ({"frames": "all"}, "preprocess.frames='all': unexpected"),
        ({"kind": "tile"}, "'whole', 'tiles'"),
    ],
)
def test_tiles_that_make_no_sense_are_refused(changes: dict[str, Any], says: str):
    assert says in complaint(with_field("preprocess", {"kind": "tiles", **changes}))


@pytest.mark.parametrize("share", [None, 0, 0.05, 1])
def test_a_share_is_between_none_and_all(share: float | None):
    values = {**VALUES, "run": {"retry_quarantined": "transient", "max_failed_share": share}}
    assert job_config(values).run.max_failed_share == share


def test_no_patience_is_allowed():
    assert job_config(with_field("execution.patience_s", 0)).execution.patience_s == 0


def test_a_configuration_cannot_be_changed_afterwards():
    with pytest.raises(FrozenInstanceError):
        job_config(VALUES).sink.uri = "elsewhere"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("source.kind", "tarball", "'directory', 'manifest', 'parquet'"),
        ("source.suffixes", "jpg", "tuple"),
        ("source.uri", 5, "string"),
        ("sink.uri", "", "at least 1 character"),
        ("features.kind", "fnp", "'fpn', 'decoder', 'embed' or 'pooled'"),
        ("features.layout", "list", "'blob' or 'tensor'"),
        ("features.grid", 5, "4 or 8"),
        ("features.pooling", "max", "'mean' or 'gem'"),
        ("preprocess.side_px", -4, "greater than 0"),
        ("preprocess.frames", "some", "'first' or 'all'"),
        ("preprocess.tile_px", 512, "unexpected"),
        ("execution.precision", "fp8", "'auto', 'fp32', 'bf16' or 'fp16'"),
        ("execution.device", "tpu", "'auto', 'cpu' or 'cuda'"),
        ("execution.num_encoders", 0, "greater than 0"),
        ("execution.num_encoders", True, "valid integer"),
        ("execution.images_per_unit", 1.5, "valid integer"),
        ("execution.images_per_batch", "many", "valid integer"),
        ("execution.ray_logs", "maybe", "valid boolean"),
        ("execution.decode_timeout_s", 0, "greater than 0"),
        ("execution.decode_memory_gib", -1, "greater than 0"),
        ("execution.decode_max_megapixels", 0, "greater than 0"),
        ("execution.decode_max_mib", -3, "greater than 0"),
        ("execution.patience_s", -0.5, "greater than or equal to 0"),
        ("execution.wrokers", 3, "unexpected"),
        ("run", {"retry_quarantined": "some"}, "'none', 'transient' or 'all'"),
        ("run", {"max_failed_share": 1.5}, "less than or equal to 1"),
        ("run", {"max_failed_share": -0.1}, "greater than or equal to 0"),
        ("modle", {}, "unexpected"),
    ],
)
def test_a_bad_field_gives_one_line_naming_field_and_value(field: str, value: Any, says: str):
    message = complaint(with_field(field, value))
    assert "\n" not in message
    named = f"{field}={value!r}" if field != "run" else "run.{}={!r}".format(*next(iter(value.items())))
    assert message.startswith(f"{named}: "), message
    assert says in message


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("storage_dtype", "float8", "storage_dtype.0='float8': input should be 'float16', 'float32' or 'int8'"),
        ("storage_dtype", ["int8", "int4"], "storage_dtype.1='int4': input should be 'float16', 'float32' or 'int8'"),
        ("levels", [2, -1], "levels.1=-1: input should be greater than or equal to 0"),
    ],
)
def test_a_bad_item_of_a_list_is_named_with_its_place(field: str, value: Any, says: str):
    assert complaint(with_field(f"features.{field}", value)) == f"features.{says}"


@pytest.mark.parametrize(
    ("background", "says"),
    [([1, 2, 256], ".2=256: input should be less than or equal to 255"), ([1, 2], ".2 is missing")],
)
def test_a_background_is_three_numbers_of_eight_bits(background: list[int], says: str):
    assert complaint(with_field("preprocess.background", background)) == f"preprocess.background{says}"


def test_every_bad_field_is_named_at_once():
    values = with_field("features.kind", "fnp")
    values["execution"]["device"] = "tpu"
    message = complaint(values)
    assert "features.kind='fnp'" in message
    assert "execution.device='tpu'" in message


def test_a_missing_group_is_named():
    values = deepcopy(VALUES)
    del values["sink"]
    assert complaint(values) == "sink is missing"


@pytest.mark.parametrize("uri", [None, ""])
def test_a_directory_source_needs_its_uri(uri: str | None):
    message = complaint(with_field("source.uri", uri))
    assert message.startswith("source.uri is not set")
    assert "source.uri=/data/photos" in message


def test_a_sample_source_needs_no_uri():
    assert job_config(with_field("source", {"kind": "sample"})).source.uri is None


@pytest.mark.parametrize("checkpoint", [None, ""])
def test_a_checkpoint_is_never_guessed(checkpoint: str | None):
    message = complaint(with_field("model.checkpoint", checkpoint))
    assert message.startswith("model.checkpoint is not set")
    assert "'published'" in message
    assert "'random'" in message


@pytest.mark.parametrize(
    "uri", ["s3://u:hunter2@b/k", "https://h/photos?X-Amz-Signature=hunter2", "az://c/k?sig=hunter2"]
)
@pytest.mark.parametrize("field", ["source", "sink"])
def test_a_place_that_records_name_holds_no_secret(field: str, uri: str):
    values = deepcopy(VALUES)
    values[field]["uri"] = uri
    with pytest.raises(ConfigError, match=rf"^{field}.uri='.*\*\*\*.*': it holds a secret") as caught:
        job_config(values)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("kind", ["parquet", "video"])
@pytest.mark.parametrize("preprocess", [{"kind": "tiles"}, {"kind": "whole", "frames": "all"}])
def test_parts_of_files_are_not_parted_any_further(kind: str, preprocess: dict[str, Any]):
    values = {**VALUES, "source": {"kind": kind, "uri": "/data"}, "preprocess": preprocess}
    with pytest.raises(ConfigError, match=f"source={kind} gives parts of files, which are not parted any further"):
        job_config(values)
