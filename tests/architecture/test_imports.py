"""Arrows between rooms go one way, ray lives in one room, and importing the package is cheap."""

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def test_import_contracts_hold():
    """As a process of its own: import-linter sets up logging for all of the one it runs in."""
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_importing_the_package_loads_neither_torch_nor_ray_nor_arrow():
    heavy = "{'torch', 'ray', 'pyarrow', 'hydra', 'numpy'}"
    code = f"import sys, pipeline; print(sorted({heavy} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == "[]"


def test_reading_features_loads_neither_torch_nor_ray():
    code = "import sys, pipeline; pipeline.open_features; print(sorted({'torch', 'ray'} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == "[]"
