"""Programs that run beside SAM 2's own package, which lies in a folder of its own and wants no torchvision here."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

READERS = Path(__file__).resolve().parent
REPOSITORY = READERS.parents[1]
PACKAGE = REPOSITORY / ".venv-sam2"


def require_sam2() -> None:
    """Skips the test where the package is not there; `make test` puts it there."""
    if not (PACKAGE / "sam2").is_dir():
        pytest.skip("SAM 2's package is not there: make .venv-sam2/stamp")


def said_by(program: str, *arguments: str | Path, cwd: Path) -> dict[str, Any]:
    """The JSON that a program of this folder prints in its last line."""
    paths = [str(REPOSITORY), str(PACKAGE), str(READERS / "torchvision_stand_in")]
    done = subprocess.run(
        [sys.executable, str(READERS / program), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said
