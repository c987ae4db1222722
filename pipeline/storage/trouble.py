"""What stores say when something is wrong, in the operating system's words, and how long to try again.

Trouble (throttling, 5xx, timeouts, resets) is ConnectionError or TimeoutError and worth another try; a missing
permission or file is not.
"""

import errno
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from pipeline.errors import AccessDeniedError, ConfigError, SinkError, StoreUnavailableError
from pipeline.redaction import redacted, shown

T = TypeVar("T")

logger = logging.getLogger("pipeline")

# Seconds a store may be in trouble before a run gives up; storms of throttling last a minute or two.
PATIENCE_S = 300.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 20.0
# Short trouble is nobody's business.
_SILENT_S = 5.0

# What a disk says when it, or this process, is in trouble, and not the file.
TROUBLE_OF_DISKS = frozenset({errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT})
# Whose errors have trees of their own, beside the operating system's.
_STORE_LIBRARIES = frozenset(
    {"aiobotocore", "aiohttp", "azure", "botocore", "gcsfs", "google", "httpcore", "httpx", "requests", "urllib3"}
)
_TRANSIENT_STATUS = frozenset({408, 409, 429})
_TRANSIENT_CODES = frozenset(
    {
        "BadDigest",
        "ConditionalRequestConflict",
        "IncompleteBody",
        "InternalError",
        "OperationAborted",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
        "XAmzContentSHA256Mismatch",
    }
)
# Of these no key is to blame, so no image either.
_CREDENTIAL_CODES = frozenset(
    {"ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "RequestTimeTooSkewed", "SignatureDoesNotMatch"}
)


_MISTAKES = frozenset({"InvalidConfigError", "InvalidRegionError", "ParamValidationError", "ProfileNotFound"})


class CredentialsError(PermissionError):
    """There are no credentials, or the store does not accept them: nothing can be read, whatever its name."""


class RetryLaterError(ConnectionError):
    """A server is in trouble, or asks for fewer requests.

    Attributes:
        wait_s: how long it wants to be left alone, in seconds.
    """

    wait_s = 0.0


class FileTooLargeError(OSError):
    """The file has more bytes than were allowed."""


class RangeNotThereError(OSError):
    """The file ends before the bytes that were asked for."""


_OF_STATUS = {
    403: (PermissionError, errno.EACCES),
    404: (FileNotFoundError, errno.ENOENT),
    412: (FileExistsError, errno.EEXIST),
    416: (RangeNotThereError, errno.ERANGE),
}


@contextmanager
def store_errors(uri: str) -> Iterator[None]:
    """Errors of the libraries below fsspec leave the block as the operating system would name them.

    They take no cause along: what those libraries say may repeat a signed URL, and Ray logs causes with the error.

    Raises:
        CredentialsError: none, or not accepted.
        PermissionError, FileNotFoundError, FileExistsError: the store said so.
        ConnectionError, TimeoutError: the store did not answer, or not as it should; trying again may help.
    """
    try:
        yield
    except CredentialsError:
        raise
    except Exception as error:  # noqa: BLE001  it leaves the block all the same
        named = isinstance(error, (ConnectionError, TimeoutError))
        raise (None if named else _in_our_words(error, shown(uri))) or _without_secrets(error) from None


class _Retries:
    """How many requests were tried again, in any thread of this process."""

    def __init__(self) -> None:
        self._lock, self._number = threading.Lock(), 0

    def add(self, number: int) -> None:
        with self._lock:
            self._number += number

    def take(self) -> int:
        with self._lock:
            number, self._number = self._number, 0
        return number


_retries = _Retries()


def count_retries(number: int) -> None:
    """Counts requests that were tried again elsewhere than here, by a store's own library."""
    _retries.add(number)


def take_retries() -> int:
    """How many requests this process has tried again since this was last asked."""
    return _retries.take()


def patiently(action: Callable[[], T], uri: str, patience_s: float = PATIENCE_S) -> T:
    """The result of `action`, tried again with growing random waits while the store is in trouble.

    Raises:
        StoreUnavailableError: still in trouble after `patience_s` seconds.
    """
    deadline, is_told = time.monotonic() + patience_s, False
    for wait_s in waits():
        try:
            return action()
        except (ConnectionError, TimeoutError) as error:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise unavailable(uri, error, patience_s) from error
            if not is_told and left_s < patience_s - _SILENT_S:
                is_told = True
                logger.warning(
                    "%s is in trouble (%s); trying again for %.0f s more", shown(uri), shown(_said(error)), left_s
                )
            asked_s = error.wait_s if isinstance(error, RetryLaterError) else 0.0
            time.sleep(min(max(wait_s, asked_s), left_s))
    raise AssertionError("waits never end")


def waits() -> Iterator[float]:
    """Seconds to wait before the next try: random below a bound that doubles, so that clients do not march in step."""
    longest = _FIRST_WAIT_S
    while True:
        yield random.uniform(longest / 10, longest)  # noqa: S311  no secret
        _retries.add(1)  # who asks for another wait has waited
        longest = min(longest * 2, _LONGEST_WAIT_S)


def unavailable(uri: str, error: BaseException, patience_s: float) -> StoreUnavailableError:
    """The error that ends a run when its patience is over."""
    return StoreUnavailableError(f"{uri} could not be reached for {patience_s:.0f} s ({_said(error)}); try again later")


def too_large(uri: str, size_bytes: int | None, max_bytes: int) -> FileTooLargeError:
    """The error of a file that is not read because of its size; None if nobody said how large it is."""
    has = "more" if size_bytes is None else f"{size_bytes} bytes"
    return FileTooLargeError(errno.EFBIG, f"it has {has}, {max_bytes} are allowed", uri)


def _said(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


@contextmanager
def as_sink_error(uri: str) -> Iterator[None]:
    """Errors of writing leave the block as ours."""
    try:
        yield
    except (FileExistsError, StoreUnavailableError):
        raise
    except PermissionError as error:
        place = error.filename or uri
        raise AccessDeniedError(f"no permission to write {place}: {error.strerror or error}") from error
    except OSError as error:
        said = error.strerror or error
        raise SinkError(f"cannot write below {uri}: {said}; mend that or choose another sink.uri") from error


def _in_our_words(error: Exception, uri: str) -> OSError | None:
    """The operating system's word for an error of a store library; None if it has the right one already."""
    response = getattr(error, "response", None) or getattr(error.__cause__, "response", None)
    if isinstance(response, dict) and "Error" in response:
        return _of_response(error, response, uri)
    if isinstance(error, ValueError) and "endpoint" in str(error).lower():
        raise ConfigError(f"{uri}: {error}; set AWS_ENDPOINT_URL to http(s)://host:port") from None
    if type(error).__module__.partition(".")[0] not in _STORE_LIBRARIES:
        return None
    kind = type(error).__name__
    said = shown(f"{kind}: {error}")
    if kind in _MISTAKES:
        raise ConfigError(f"{uri}: {said}; mend the URI or the AWS_ variables") from None
    if "Credential" in kind or "Token" in kind:
        return CredentialsError(errno.EACCES, said, uri)
    return ConnectionError(errno.EIO, said, uri)


def _without_secrets(error: Exception) -> Exception:
    """The error, or one of its kind that says the same without what is secret in it."""
    if redacted(str(error)) == str(error):
        return error
    kinds = (FileNotFoundError, FileExistsError, PermissionError, ConnectionError, TimeoutError, OSError)
    kind = next((kind for kind in kinds if isinstance(error, kind)), OSError)
    return kind(getattr(error, "errno", None) or errno.EIO, shown(f"{type(error).__name__}: {_said(error)}"))


def _of_response(error: Exception, response: dict[str, Any], uri: str) -> OSError | None:
    code = str(response["Error"].get("Code", ""))
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    said = shown(f"{code or status}: {response['Error'].get('Message', error)}")
    if code in _CREDENTIAL_CODES:
        return CredentialsError(errno.EACCES, said, uri)
    if code in _TRANSIENT_CODES or status in _TRANSIENT_STATUS or status >= 500:
        return ConnectionError(errno.EIO, said, uri)
    kind, number = _OF_STATUS.get(status, (OSError, errno.EINVAL))
    return kind(number, said, uri)
