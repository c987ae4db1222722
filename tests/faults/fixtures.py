"""What tests against a store share: one server for all, a bucket of its own and a proxy for each."""

import secrets
import sys
from collections.abc import Iterator

import pytest

from tests.faults.proxy import FaultProxy
from tests.faults.store import S3Server


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """A real S3 server on loopback, for the whole session."""
    with S3Server() as server:
        yield server


@pytest.fixture
def bucket(s3_server: S3Server) -> Iterator[str]:
    """The name of a bucket that no other test uses, emptied afterwards."""
    name = f"bucket-{secrets.token_hex(6)}"
    s3_server.make_bucket(name)
    yield name
    s3_server.empty_bucket(name)


@pytest.fixture
def fault_proxy(s3_server: S3Server) -> Iterator[FaultProxy]:
    """A proxy in front of the server, without faults; what it saw is printed when the test fails."""
    with FaultProxy(s3_server.endpoint) as proxy:
        yield proxy
        sys.stdout.write(f"{proxy}\n")
