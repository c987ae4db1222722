"""The store and the proxy, for the tests of the proxy itself."""

import pytest

from tests.faults.fixtures import bucket, fault_proxy, s3_server
from tests.faults.proxied import ProxiedBucket

__all__ = ["bucket", "fault_proxy", "s3_server", "store"]


@pytest.fixture
def store(s3_server, bucket, fault_proxy):
    """A bucket through the proxy, and as it really is."""
    return ProxiedBucket(bucket, fault_proxy, s3_server.client)
