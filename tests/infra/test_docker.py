"""infra/docker: an image holds the pins and nothing else, its files are there and sent, and it is nobody's root."""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "infra/docker"
TEXT = (FOLDER / "Dockerfile").read_text()
TORCH = {"gpu": "requirements-torch.lock", "cpu": "requirements-torch-cpu.lock"}


def instructions() -> list[tuple[str, str]]:
    """Instruction and arguments, in order, without comments, lines joined."""
    plain = "\n".join(line for line in TEXT.splitlines() if not line.startswith("#"))
    return [(each[0], each[1]) for line in re.sub(r"\\\n\s*", "", plain).splitlines() if (each := line.split(None, 1))]


def all_of(name: str) -> list[str]:
    return [arguments for instruction, arguments in instructions() if instruction == name]


def pins(lock: str) -> dict[str, str]:
    found = re.findall(r"^([\w.-]+)==([^\s;\\]+)", (REPOSITORY / lock).read_text(), flags=re.MULTILINE)
    return {canonicalize_name(package): version for package, version in found}


def test_hadolint_finds_nothing():
    command = [Path(sys.executable).parent / "hadolint", FOLDER / "Dockerfile"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def is_ignored(path: str) -> bool:
    """As Docker has it: the last line that fits a path or a folder above it decides; stars do not cross slashes."""
    ignored = False
    for line in (FOLDER / "Dockerfile.dockerignore").read_text().splitlines():
        if not line.startswith("#"):
            rule = re.escape(line.removeprefix("!")).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
            if any(re.fullmatch(rule, str(each)) for each in [Path(path), *Path(path).parents]):
                ignored = not line.startswith("!")
    return ignored


def test_what_is_copied_is_there_and_is_sent_and_nothing_else_is():
    sources = [source for each in all_of("COPY") for source in shlex.split(each)[:-1]]
    assert sources
    for source in sources:
        path = REPOSITORY / source
        files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
        assert files, source
        sent = [each for each in files if not is_ignored(str(each.relative_to(REPOSITORY)))]
        assert {each for each in files if "__pycache__" not in each.parts} == set(sent), source
    for kept in ("outputs/features/featureset.json", ".git/config", ".venv/bin/python", ".env", "tests/conftest.py"):
        assert is_ignored(kept), kept
    assert all(f"{name}/" in sources for name in ("pipeline", "jobs", "configs"))


@pytest.mark.parametrize("kind", TORCH)
def test_an_image_holds_the_tested_versions_with_hashes_and_all_that_its_extras_ask_for(kind):
    installed = {**pins(TORCH[kind]), **pins("requirements.lock")}
    for lock in (TORCH[kind], "requirements.lock"):
        entries = re.split(r"\n(?=[\w.-]+==)", (REPOSITORY / lock).read_text())[1:]
        assert [each for each in entries if not re.search(r"--hash=sha256:[0-9a-f]{64}", each)] == []
    tested = pins("constraints.txt")
    differing = {name for name, version in installed.items() if tested.get(name, version) != version.partition("+")[0]}
    assert differing == set()
    untested = {name for name in installed if name not in tested} - {"setuptools", "triton"}
    assert {name for name in untested if not name.startswith(("cuda-", "nvidia-"))} == set()

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    (extras,) = re.findall(r"^IMAGE_EXTRAS := (.+)$", (REPOSITORY / "Makefile").read_text(), flags=re.MULTILINE)
    asked = [
        *project["dependencies"],
        *(each for name in extras.split() for each in project["optional-dependencies"][name]),
    ]
    for wanted in map(Requirement, asked):
        version = installed[canonicalize_name(wanted.name)]
        assert version.partition("+")[0] in wanted.specifier, wanted
    assert not {"pytest", "moto", "mypy", "transformers", "scikit-image"} & installed.keys()


def test_all_is_installed_by_hash_alone_and_the_builder_of_the_one_source_is_pinned():
    (install,) = [each for each in all_of("RUN") if "pip install" in each]
    commands = [each for each in install.split("&&") if "pip install" in each]
    assert len(commands) == 2
    assert all("--require-hashes" in each and "--no-deps" in each for each in commands)
    assert "--no-build-isolation" in commands[1]
    assert "pip check" in install
    (first,) = [each for each in all_of("ARG") if each.startswith("TORCH=")]
    assert first == f"TORCH={TORCH['gpu']}"
    for lock in TORCH.values():
        assert "setuptools" in pins(lock)
        assert lock in all_of("COPY")[0]
    assert pins(TORCH["cpu"])["torch"].endswith("+cpu")
    assert not [name for name in pins(TORCH["cpu"]) if name.startswith("nvidia-")]


def test_it_runs_as_nobody_in_particular_and_writes_below_tmp_alone():
    assert all_of("USER") == ["10001:10001"]
    assert all_of("ENTRYPOINT") == ['["tini", "--"]']
    (environment,) = [dict(pair.split("=", 1) for pair in shlex.split(each)) for each in all_of("ENV")]
    assert environment["HOME"] == "/tmp"  # noqa: S108
    assert environment["XDG_CACHE_HOME"].startswith("/tmp/")  # noqa: S108
    assert environment["PYTHONPATH"] == all_of("WORKDIR")[0] == "/app"
    drain_s = re.search(r"_DRAIN_S = ([\d.]+)", (REPOSITORY / "pipeline/execution/run.py").read_text())[1]
    assert float(environment["RAY_JOB_STOP_WAIT_TIME_S"]) > float(drain_s)
    assert not [name for name in environment if re.search("TOKEN|SECRET|PASSWORD|KEY", name)]


def test_the_command_exists():
    (command,) = all_of("CMD")
    assert command == '["python", "jobs/embed.py", "--help"]'
    environment = {"PYTHONPATH": str(REPOSITORY), "HOME": "/nowhere", "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "jobs/embed.py", "--help"]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "images_per_unit" in done.stdout


def test_the_base_is_the_python_of_the_locks():
    (python,) = [each.partition("=")[2] for each in all_of("ARG") if each.startswith("PYTHON=")]
    assert python.startswith("python:3.11-slim")
    assert "--python-version 3.11" in (REPOSITORY / "Makefile").read_text()
