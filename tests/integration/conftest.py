"""What integration tests share: the check of a finished feature set."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.expected import difference


@pytest.fixture
def expect_features() -> Callable[..., None]:
    """Checks ids and features of a set against the plain encoder on the plain files."""

    def check(sink: Path | str, folder: Path, names: list[str]) -> None:
        found = difference(sink, folder, names)
        assert not found, found

    return check
