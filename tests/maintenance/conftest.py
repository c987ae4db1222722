"""The small feature set that tests of maintenance damage."""

from pathlib import Path

import pytest

from tests.small_set import SmallSet


@pytest.fixture
def small(tmp_path: Path) -> SmallSet:
    """An empty feature set with maps."""
    return SmallSet(tmp_path / "set")
