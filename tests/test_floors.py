"""Jobs refuse packages below their floors, and what we pin and promise respects them."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from pipeline.floors import FLOORS, check_floors

REPOSITORY = Path(__file__).resolve().parents[1]
LOWEST = {floor.package: Version(floor.lowest) for floor in FLOORS}


def pins(name: str) -> dict[str, Version]:
    found = re.findall(r"^([\w.-]+)==([^\s;]+)", (REPOSITORY / name).read_text(), flags=re.MULTILINE)
    return {canonicalize_name(package): Version(version) for package, version in found}


def run_verify(path: Path, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """A job as its own process, with a folder first on its path."""
    environment = {**os.environ, "PYTHONPATH": f"{path}{os.pathsep}{REPOSITORY}"}
    command = [sys.executable, "jobs/verify.py", f"sink.uri={tmp_path / 'nowhere'}"]
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)


def install(folder: Path, package: str, version: str) -> None:
    """What importlib.metadata finds of a package, without the package."""
    info = folder / f"{package.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")


def test_what_is_installed_is_high_enough():
    check_floors()


def test_a_job_refuses_every_package_below_its_floor_and_says_why(tmp_path):
    for floor in FLOORS:
        install(tmp_path / "old", floor.package, "0.9.1")
    finished = run_verify(tmp_path / "old", tmp_path)
    assert finished.returncode == 64
    for floor in FLOORS:
        said = f"{floor.package} 0.9.1 is installed, at least {floor.lowest} is needed ({floor.reason})"
        assert said in finished.stderr
    assert "constraints.txt" in finished.stderr
    assert finished.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("version", "is_refused"), [("2.54.9", True), ("2.55.0rc1", True), ("2.55.0", False), ("who knows", True)]
)
def test_the_floor_itself_is_high_enough_and_its_preview_is_not(tmp_path, version, is_refused):
    install(tmp_path / "old", "ray", version)
    finished = run_verify(tmp_path / "old", tmp_path)
    assert (f"ray {version} is installed" in finished.stderr) == is_refused
    assert finished.returncode == (64 if is_refused else 65)  # 65: there is no feature set there


def test_the_ranges_of_the_project_file_begin_at_the_floors_or_above():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    ranges = {canonicalize_name(each.name): each.specifier for each in map(Requirement, project["dependencies"])}
    begins = {
        package: max(Version(part.version) for part in ranges[package] if part.operator in (">=", "=="))
        for package in LOWEST
        if package in ranges
    }
    assert set(begins) == set(LOWEST)
    assert {package: begin for package, begin in begins.items() if begin < LOWEST[package]} == {}


@pytest.mark.parametrize("name", ["constraints.txt", "requirements.lock", "requirements-torch.lock"])
def test_no_pin_is_below_a_floor(name):
    pinned = pins(name)
    assert pinned
    assert {
        package: pinned[package] for package in LOWEST if package in pinned and pinned[package] < LOWEST[package]
    } == {}


def test_the_constraints_pin_everything_that_has_a_floor():
    assert set(LOWEST) <= set(pins("constraints.txt"))


def test_the_documents_give_every_floor_with_its_reason():
    text = (REPOSITORY / "docs" / "security.md").read_text()
    for floor in FLOORS:
        assert f"| {floor.package} | {floor.lowest} | {floor.reason} |" in text


def test_versions_are_compared_without_importing_the_packages():
    heavy = "{'torch', 'ray', 'pyarrow', 'PIL', 'hydra'}"
    code = f"import sys; from pipeline.floors import check_floors; check_floors(); print({heavy} & set(sys.modules))"
    finished = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert finished.stdout == "set()\n"
