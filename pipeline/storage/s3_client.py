"""Requests to S3 by the names of its API, through s3fs: one client that retries a little, one that never does.

A create-if-absent must not be retried below us: a retry that meets its own first write is told that it lost. What
cannot be helped is that aiohttp sends a PUT once more when its connection breaks.
"""

import errno
from typing import Any

from fsspec.asyn import sync
from s3fs import S3FileSystem

from pipeline.storage.trouble import store_errors

_MODERATE = {"retries": {"mode": "standard", "total_max_attempts": 3}, "max_pool_connections": 64}
_ONCE = {"retries": {"mode": "standard", "total_max_attempts": 1}}


class S3Client:
    """Requests of one process; cheap to make, s3fs shares the connections."""

    def __init__(self) -> None:
        self._moderate = S3FileSystem(config_kwargs=_MODERATE, use_listings_cache=False)
        self._once = S3FileSystem(config_kwargs=_ONCE, use_listings_cache=False)
        # s3fs would try each of botocore's tries five times over; whoever calls us is patient.
        self._moderate.retries = self._once.retries = 1

    def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """The answer to a request that may be sent several times.

        Raises:
            OSError: as `store_errors` says it.
        """
        with store_errors(_uri(arguments)):
            answer: dict[str, Any] = self._moderate.call_s3(operation, **arguments)
            return answer

    def call_once(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """The answer to a request that is sent once, or twice by aiohttp if it is a PUT whose connection broke.

        Raises:
            OSError: as `store_errors` says it; after ConnectionError or TimeoutError nobody knows what was done.
        """
        with store_errors(_uri(arguments)):
            answer: dict[str, Any] = self._once.call_s3(operation, **arguments)
            return answer

    def get(self, **arguments: Any) -> bytes:
        """The whole body of an object.

        Raises:
            OSError: as `store_errors` says it; a body that ends too early is a ConnectionError.
        """
        with store_errors(_uri(arguments)):
            return bytes(sync(self._moderate.loop, _get, self._moderate, arguments))


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and key of `s3://bucket/key`; nothing in a key means anything, not even `?` or `#`."""
    bucket, _, key = uri.partition("://")[2].partition("/")
    return bucket, key


async def _get(file_system: S3FileSystem, arguments: dict[str, Any]) -> bytes:
    answer = await file_system._call_s3("get_object", **arguments)  # noqa: SLF001  call_s3 would lose the open body
    async with answer["Body"] as body:
        data = await body.read()
    if len(data) != answer["ContentLength"]:
        raise ConnectionError(errno.EIO, f"{len(data)} bytes came of {answer['ContentLength']}", _uri(arguments))
    return bytes(data)


def _uri(arguments: dict[str, Any]) -> str:
    return f"s3://{arguments['Bucket']}/{arguments.get('Key', arguments.get('Prefix', ''))}"
