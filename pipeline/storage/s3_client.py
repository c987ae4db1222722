"""Requests to S3 by the names of its API, through s3fs: one client that retries a little, one that never does.

A create-if-absent must not be retried below us: a retry that meets its own first write is told that it lost. What
cannot be helped is that aiohttp sends a PUT once more when its connection breaks.
"""

import errno
import os
from typing import Any

from fsspec.asyn import sync
from s3fs import S3FileSystem

from pipeline.storage.trouble import count_retries, store_errors, too_large

_MODERATE = {"retries": {"mode": "standard", "total_max_attempts": 3}, "max_pool_connections": 64}
_ONCE = {"retries": {"mode": "standard", "total_max_attempts": 1}}


class S3Client:
    """Requests of one process; cheap to make, s3fs shares the connections. In another process it makes its own."""

    def __init__(self) -> None:
        self._process, self._file_systems = os.getpid(), _file_systems()

    def __reduce__(self) -> tuple[type["S3Client"], tuple[()]]:
        """What travels is what to make: s3fs would arrive with retries of its own."""
        return S3Client, ()

    def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """The answer to a request that may be sent several times.

        Raises:
            OSError: as `store_errors` says it.
        """
        with store_errors(_uri(arguments)):
            answer: dict[str, Any] = self._moderate.call_s3(operation, **arguments)
            count_retries(answer["ResponseMetadata"].get("RetryAttempts", 0))
            return answer

    def call_once(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """The answer to a request that is sent once, or twice by aiohttp if it is a PUT whose connection broke.

        Raises:
            OSError: as `store_errors` says it; after ConnectionError or TimeoutError nobody knows what was done.
        """
        with store_errors(_uri(arguments)):
            answer: dict[str, Any] = self._once.call_s3(operation, **arguments)
            return answer

    def get(self, max_bytes: int | None = None, **arguments: Any) -> bytes:
        """The whole body of an object, or of a range of it.

        Raises:
            FileTooLargeError: it has more than `max_bytes`; nothing of it was read.
            OSError: as `store_errors` says it; a body that ends too early is a ConnectionError.
        """
        with store_errors(_uri(arguments)):
            file_system = self._moderate
            return bytes(sync(file_system.loop, _get, file_system, arguments, max_bytes))

    @property
    def _moderate(self) -> S3FileSystem:
        return self._in_this_process()[0]

    @property
    def _once(self) -> S3FileSystem:
        return self._in_this_process()[1]

    def _in_this_process(self) -> tuple[S3FileSystem, S3FileSystem]:
        if self._process != os.getpid():  # what a fork brought along cannot be used
            self._process, self._file_systems = os.getpid(), _file_systems()
        return self._file_systems


def _file_systems() -> tuple[S3FileSystem, S3FileSystem]:
    """One that retries a little, one that never does."""
    moderate, once = (S3FileSystem(config_kwargs=each, use_listings_cache=False) for each in (_MODERATE, _ONCE))
    # s3fs would try each of botocore's tries five times over; whoever calls us is patient.
    moderate.retries = once.retries = 1
    return moderate, once


async def _get(file_system: S3FileSystem, arguments: dict[str, Any], max_bytes: int | None) -> bytes:
    answer = await file_system._call_s3("get_object", **arguments)  # noqa: SLF001  call_s3 would lose the open body
    count_retries(answer["ResponseMetadata"].get("RetryAttempts", 0))
    async with answer["Body"] as body:
        if max_bytes is not None and answer["ContentLength"] > max_bytes:
            body.close()
            raise too_large(_uri(arguments), answer["ContentLength"], max_bytes)
        data = await body.read()
    if len(data) != answer["ContentLength"]:
        raise ConnectionError(errno.EIO, f"{len(data)} bytes came of {answer['ContentLength']}", _uri(arguments))
    return bytes(data)


def _uri(arguments: dict[str, Any]) -> str:
    return f"s3://{arguments['Bucket']}/{arguments.get('Key', arguments.get('Prefix', ''))}"
