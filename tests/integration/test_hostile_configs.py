"""Model files and overrides that try to run, read or reach something (X1 to X12): refused, and no trace of an effect.

Every attempt aims at a canary: a folder or file that must not appear, or a secret that must not be repeated.
"""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline.errors import ConfigError
from pipeline.model.build import instantiate_encoder, load_encoder_config
from pipeline.model.targets import TARGETS

REPOSITORY = Path(__file__).resolve().parents[2]
DEBUG = (REPOSITORY / "configs" / "model" / "hiera_debug.yaml").read_text()
SECRET = "canary-hunter2"  # noqa: S105  what a test looks for


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What must not come into being: also by importing the package `canary_package`."""
    package = tmp_path / "packages" / "canary_package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(f"import os; os.mkdir({str(tmp_path / 'canary')!r})\ndef run(*_): pass\n")
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    return tmp_path / "canary"


def attempt(folder: Path, text: str, *overrides: str) -> str:
    """Load and build a model file from anybody; the message with which it is refused."""
    path = folder / "model.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        instantiate_encoder(load_encoder_config(path, overrides).tree)
    assert caught.value.exit_code == 64
    assert SECRET not in str(caught.value)
    assert not (folder / "canary").exists()
    assert "canary_package" not in sys.modules
    return str(caught.value)


def debug_with(place: str, value: object) -> str:
    tree = yaml.safe_load(DEBUG)
    *parents, last = place.split(".")
    node = tree
    for key in parents:
        node = node[int(key)] if isinstance(node, list) else node.setdefault(key, {})
    node[int(last) if isinstance(node, list) else last] = value
    return yaml.safe_dump(tree)


def targets(canary: Path) -> dict[str, dict[str, object]]:
    """Targets of X1 to X6 with arguments that would leave a trace."""
    touch = f"mkdir {canary}"
    return {
        "os.system": {"command": touch},
        "subprocess.check_output": {"args": ["mkdir", str(canary)]},
        "builtins.eval": {"_args_": [f"__import__('os').mkdir({str(canary)!r})"]},
        "logging.os.system": {"command": touch},
        "pandas.read_pickle": {"filepath_or_buffer": str(canary.with_name("payload"))},
        "setuptools._distutils.spawn.spawn": {"cmd": ["mkdir", str(canary)]},
        "numpy.load": {"file": str(canary.with_name("payload")), "allow_pickle": True},
        "pathlib.Path.write_text": {"self": str(canary), "data": "x"},
        "builtins.open": {"file": str(canary), "mode": "w"},
        "shutil.copyfile": {"src": "/etc/hostname", "dst": str(canary)},
        "canary_package.run": {},
        "pipeline.model.targets.TARGETS.clear": {},
        "pipeline.model.build.ImageEncoder": {},
    }


class Payload:
    """Makes the canary when unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return os.mkdir, (str(self.canary),)


@pytest.mark.parametrize("target", targets(Path("x")))
@pytest.mark.parametrize("place", ["trunk", "neck.position_encoding", "trunk.stages.0", "neck.deep.deeper.deepest"])
def test_no_target_outside_the_list_is_ever_called(tmp_path: Path, canary: Path, target: str, place: str):
    (tmp_path / "payload").write_bytes(pickle.dumps(Payload(canary)))
    said = attempt(tmp_path, debug_with(place, {"_target_": target, **targets(canary)[target]}))
    assert f"_target_ {target!r} at " in said or "_args_ is not allowed" in said


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("neck._args_", [{"_target_": "canary_package.run"}]),
        ("trunk._partial_", True),
        ("trunk._recursive_", False),
        ("neck._convert_", "all"),
        ("_args_", "${trunk}"),
    ],
)
def test_no_key_steers_hydra(tmp_path: Path, canary: Path, place: str, value: object):
    assert "of the keys that steer Hydra, only _target_ is" in attempt(tmp_path, debug_with(place, value))
    assert not canary.exists()


def test_a_target_by_interpolation_is_judged_by_what_it_resolves_to(tmp_path: Path, canary: Path):
    whole = "evil: {_target_: canary_package.run}\nname: canary_package.run\nimage_encoder:\n"
    inside = "".join(f"  {line}\n" for line in DEBUG.splitlines())
    for old, new in [
        ("pipeline.model.hiera.Hiera", "${name}"),
        ("stages: [1, 1, 2, 1]", "stages: [1, '${evil}']"),
        ("fuse_type: sum", "fuse_type: ${evil}"),
    ]:
        assert "_target_ 'canary_package.run' at " in attempt(tmp_path, whole + inside.replace(old, new))
    assert not canary.exists()


@pytest.mark.parametrize("call", ["oc.create:{_target_: canary_package.run}", "oc.env:AWS_SECRET_ACCESS_KEY"])
def test_a_call_put_together_from_pieces_is_not_resolved_a_second_time(tmp_path: Path, canary: Path, call: str):
    pieces = yaml.safe_dump({"a": "$", "b": f"{{{call}}}"})
    inside = "".join(f"  {line}\n" for line in DEBUG.replace("fuse_type: sum", "fuse_type: ${a}${b}").splitlines())
    said = attempt(tmp_path, f"{pieces}image_encoder:\n{inside}")
    assert "at neck.fuse_type is an interpolation after all were resolved" in said
    assert not canary.exists()


def test_a_sibling_that_would_change_the_list_is_refused_before_its_neighbour(tmp_path: Path, canary: Path):
    before = dict(TARGETS)
    first = {"_target_": "pipeline.model.targets.TARGETS.__setitem__", "_args_": ["os.system", "os.system"]}
    text = debug_with("neck", {"_target_": "os.system", "command": f"mkdir {canary}"})
    tree = {"trunk": first, **{key: value for key, value in yaml.safe_load(text).items() if key != "trunk"}}
    attempt(tmp_path, yaml.safe_dump(tree, sort_keys=False))
    assert before == TARGETS


@pytest.mark.parametrize(
    "steering",
    [
        "hydra: {searchpath: ['pkg://canary_package']}\n",
        "defaults: [_self_, {override hydra/job_logging: none}]\n",
        "defaults: ['${oc.env:AWS_SECRET_ACCESS_KEY}', _self_]\n",
        "defaults: [/../../../../etc/passwd]\n",
        "# @package hydra\nsearchpath: ['pkg://canary_package']\n",
    ],
)
def test_nothing_of_a_model_file_reaches_hydra_itself(tmp_path: Path, canary: Path, steering: str):
    (tmp_path / "none.yaml").write_text("evil: 1")
    said = attempt(tmp_path, steering + DEBUG)
    assert "which steers Hydra" in said or "ImageEncoder has no argument 'searchpath'" in said
    assert not canary.exists()


@pytest.mark.parametrize(
    "override",
    [
        "hydra.searchpath=[pkg://canary_package]",
        " hydra.searchpath=[pkg://canary_package]",
        "+hydra.searchpath=[file:///tmp/evil]",
        "~hydra",
        "hydra/job_logging=evil",
        "+hydra/launcher=evil",
        "source@hydra.job=directory",
        "--config-dir=/tmp/evil",
        "--config-name=evil",
        "-m",
        "sink.uri=${oc.env:AWS_SECRET_ACCESS_KEY}",
        "sink.uri=s3://b/${oc.env:AWS_SECRET_ACCESS_KEY}",
        'source.suffixes=["${oc.env:AWS_SECRET_ACCESS_KEY}"]',
        "features.levels=${oc.decode:${oc.env:AWS_SECRET_ACCESS_KEY}}",
        "model.neck.fuse_type=${oc.env:AWS_SECRET_ACCESS_KEY}",
        "model=../../../../tmp/evil",
    ],
)
def test_no_override_of_a_job_steers_hydra_or_reads_the_environment(canary: Path, override: str):
    sys.path.insert(0, str(REPOSITORY / "jobs"))
    from job import compose_values

    with pytest.raises(ConfigError) as caught:
        compose_values("embed", ["source.uri=/photos", override])
    assert SECRET not in str(caught.value)
    assert not canary.exists()


def test_hydras_own_exceptions_in_the_environment_change_nothing_and_are_warned_of(
    tmp_path: Path, canary: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setenv("HYDRA_INSTANTIATE_ALLOWLIST_OVERRIDE", "os.system:canary_package.run")
    for target in ("os.system", "canary_package.run"):
        said = attempt(tmp_path, debug_with("trunk", {"_target_": target, "command": f"mkdir {canary}"}))
        assert f"_target_ {target!r} at trunk is not allowed" in said
    assert "HYDRA_INSTANTIATE_ALLOWLIST_OVERRIDE is set and changes nothing" in caplog.text


@pytest.mark.parametrize("value", ["${oc.env:AWS_SECRET_ACCESS_KEY}", "a ${ oc.env : AWS_SECRET_ACCESS_KEY }"])
@pytest.mark.parametrize("key", ["note", "image_size", "model", "hydra_"])
def test_no_resolver_is_called(tmp_path: Path, canary: Path, key: str, value: str):
    said = attempt(tmp_path, f"{yaml.safe_dump({key: value})}{DEBUG}")
    assert "calls a resolver" in said
    assert not canary.exists()


def test_a_yaml_tag_is_refused_before_anything_is_constructed(tmp_path: Path, canary: Path):
    for tag in ("python/object/apply:os.system", "python/object/new:os.system", "python/name:canary_package.run"):
        said = attempt(tmp_path, f"note: !!{tag} ['mkdir {canary}']\n{DEBUG}")
        assert f"the tag tag:yaml.org,2002:{tag}, and tags are refused" in said


def test_a_job_with_a_hostile_model_file_ends_with_64_and_writes_no_secret(tmp_path: Path, canary: Path):
    (tmp_path / "model.yaml").write_text("note: ${oc.env:AWS_SECRET_ACCESS_KEY}\n" + DEBUG)
    command = [
        "source=sample",
        "model.checkpoint=random",
        f"model.config={tmp_path}/model.yaml",
        f"sink.uri={tmp_path}/out",
    ]
    done = subprocess.run(
        [sys.executable, "jobs/embed.py", *command], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (64, "")
    assert "calls a resolver" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not [content for content in [*written, done.stderr.encode()] if SECRET.encode() in content]
    assert not canary.exists()
