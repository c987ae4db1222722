"""The room of the drills, one for the session."""

import pytest

from tests.chaos.room import Room


@pytest.fixture(scope="session")
def room(tmp_path_factory):
    with Room(tmp_path_factory.mktemp("chaos")) as room:
        yield room
