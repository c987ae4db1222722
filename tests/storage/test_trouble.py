"""Trouble: what a store says is told in the operating system's words, and tried again as long as patience lasts."""

import errno
import random
import traceback
from itertools import islice

import botocore.exceptions
import pytest
from botocore.exceptions import ClientError

from pipeline.errors import AccessDeniedError, SinkError, StoreUnavailableError
from pipeline.storage.trouble import (
    CredentialsError,
    RangeNotThereError,
    RetryLaterError,
    as_sink_error,
    patiently,
    store_errors,
    take_retries,
    too_large,
    unavailable,
    waits,
)


def answered(status: int, code: str) -> ClientError:
    """What botocore raises for an answer of that kind."""
    response = {"Error": {"Code": code, "Message": "said"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "GetObject")


def in_our_words(error: Exception) -> BaseException:
    with pytest.raises(OSError) as caught, store_errors("s3://b/k"):  # noqa: PT011  the kind is what is tested
        raise error
    return caught.value


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (503, "SlowDown", ConnectionError),
        (503, "ServiceUnavailable", ConnectionError),
        (500, "InternalError", ConnectionError),
        (502, "", ConnectionError),
        (429, "TooManyRequests", ConnectionError),
        (408, "", ConnectionError),
        (409, "ConditionalRequestConflict", ConnectionError),
        (400, "RequestTimeout", ConnectionError),
        (400, "BadDigest", ConnectionError),
        (200, "InternalError", ConnectionError),
        (412, "PreconditionFailed", FileExistsError),
        (416, "InvalidRange", RangeNotThereError),
        (404, "NoSuchKey", FileNotFoundError),
        (404, "404", FileNotFoundError),
        (403, "AccessDenied", PermissionError),
        (403, "403", PermissionError),
        (403, "SignatureDoesNotMatch", CredentialsError),
        (403, "InvalidAccessKeyId", CredentialsError),
        (403, "RequestTimeTooSkewed", CredentialsError),
        (400, "ExpiredToken", CredentialsError),
        (400, "InvalidArgument", OSError),
    ],
)
def test_an_answer_of_a_store_is_told_in_the_operating_systems_words(status: int, code: str, kind: type[OSError]):
    ours = in_our_words(answered(status, code))
    assert type(ours) is kind, ours
    assert isinstance(ours, OSError)
    assert ours.filename == "s3://b/k"
    assert str(ours.strerror).endswith(": said")


def test_credentials_that_are_refused_are_no_images_fault_but_still_a_matter_of_permission():
    assert issubclass(CredentialsError, PermissionError)


def test_what_a_library_wrapped_is_told_by_the_answer_inside():
    """s3fs makes a PermissionError of its own out of some answers, also of those that are trouble."""
    wrapped = PermissionError("wrapped")
    wrapped.__cause__ = answered(503, "SlowDown")
    assert type(in_our_words(wrapped)) is ConnectionError


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (botocore.exceptions.NoCredentialsError(), CredentialsError),
        (botocore.exceptions.PartialCredentialsError(provider="env", cred_var="key"), CredentialsError),
        (botocore.exceptions.EndpointConnectionError(endpoint_url="http://x"), ConnectionError),
        (botocore.exceptions.ReadTimeoutError(endpoint_url="http://x"), ConnectionError),
        (botocore.exceptions.ConnectionClosedError(endpoint_url="http://x"), ConnectionError),
        (botocore.exceptions.IncompleteReadError(actual_bytes=1, expected_bytes=2), ConnectionError),
    ],
)
def test_errors_of_store_libraries_are_told_apart(error: Exception, kind: type[OSError]):
    ours = in_our_words(error)
    assert type(ours) is kind, ours
    assert type(error).__name__ in str(ours)


@pytest.mark.parametrize(
    "error", [ConnectionResetError("mine"), TimeoutError("mine"), FileNotFoundError("mine"), ZeroDivisionError("mine")]
)
def test_what_has_the_right_name_already_passes_untouched(error: Exception):
    with pytest.raises(type(error), match=r"^mine$") as caught, store_errors("s3://b"):
        raise error
    assert caught.value is error


# Patience


class Troubled:
    """Fails so often, then answers."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self._errors:
            raise self._errors.pop(0)
        return "answer"


@pytest.mark.parametrize("error", [ConnectionError("reset"), TimeoutError("slow")])
def test_trouble_is_waited_out(error: Exception):
    action = Troubled(error, error, error)
    take_retries()
    assert patiently(action, "s3://b") == "answer"
    assert action.calls == 4
    assert (take_retries(), take_retries()) == (3, 0)


@pytest.mark.parametrize("error", [PermissionError(), FileNotFoundError(), FileExistsError(), ZeroDivisionError()])
def test_what_trying_again_does_not_mend_is_not_tried_again(error: Exception):
    action = Troubled(error)
    with pytest.raises(type(error)):
        patiently(action, "s3://b")
    assert action.calls == 1


def test_patience_ends_with_an_error_that_says_what_and_where():
    action = Troubled(*[ConnectionError(errno.EIO, "SlowDown: wait", "s3://b/k")] * 1000)
    with pytest.raises(
        StoreUnavailableError, match=r"^s3://b/k could not be reached for 0 s \(SlowDown: wait\)"
    ) as end:
        patiently(action, "s3://b/k", 0.2)
    assert action.calls >= 2
    assert end.value.exit_code == 75
    assert isinstance(end.value.__cause__, ConnectionError)


def test_without_patience_there_is_one_try():
    action = Troubled(ConnectionError())
    with pytest.raises(StoreUnavailableError, match=r"\(ConnectionError\)"):
        patiently(action, "s3://b", 0)
    assert action.calls == 1


def test_waits_grow_to_a_bound_and_are_random():
    random.seed(11)
    found = list(islice(waits(), 40))
    bounds = [min(0.1 * 2**number, 20.0) for number in range(40)]
    assert all(bound / 10 <= wait <= bound for wait, bound in zip(found, bounds, strict=True)), found
    assert len(set(found)) == 40
    assert found[:8] != list(islice(waits(), 8))


def test_the_end_of_patience_names_an_error_that_says_nothing():
    assert "(TimeoutError)" in str(unavailable("s3://b", TimeoutError(), 1))


# Writing


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (PermissionError(errno.EACCES, "denied", "/x/y"), AccessDeniedError, "no permission to write /x/y: denied"),
        (PermissionError("denied"), AccessDeniedError, "no permission to write /x: denied"),
        (OSError(errno.ENOSPC, "No space left on device"), SinkError, "cannot write below /x: No space left on device"),
        (OSError("odd"), SinkError, "cannot write below /x: odd; mend that or choose another sink.uri"),
        (StoreUnavailableError("mine"), StoreUnavailableError, "^mine$"),
        (FileExistsError("mine"), FileExistsError, "^mine$"),
        (ZeroDivisionError("mine"), ZeroDivisionError, "^mine$"),
    ],
)
def test_errors_of_writing_say_where_and_what_to_do(error: Exception, kind: type[Exception], says: str):
    with pytest.raises(kind, match=says), as_sink_error("/x"):
        raise error


def test_a_server_that_wants_to_be_left_alone_is_as_long_as_patience_lasts():
    tries = []

    def busy() -> None:
        tries.append(1)
        error = RetryLaterError(errno.EIO, "the server says 503")
        error.wait_s = 1000.0
        raise error

    with pytest.raises(StoreUnavailableError, match="the server says 503"):
        patiently(busy, "https://images.example", patience_s=0.3)
    assert len(tries) == 2, "at once, and when patience ends"


def test_a_file_that_is_too_large_says_how_large():
    assert str(too_large("/a", 11, 10).strerror) == "it has 11 bytes, 10 are allowed"
    assert str(too_large("/a", None, 10).strerror) == "it has more, 10 are allowed"


def test_what_a_library_said_leaves_no_secret_in_the_error_nor_in_what_is_logged_of_it():
    place = "s3://u:hunter2@b/k"
    signed = "https://b.s3.amazonaws.com/k?X-Amz-Signature=hunter2"
    denied = answered(403, "AccessDenied")
    denied.response["Error"]["Message"] = f"no: {signed}"
    wrapped = OSError(errno.EIO, f"An error occurred: {signed}")
    wrapped.__cause__ = denied
    plain = ClientError({"Error": {"Code": "Odd", "Message": signed}}, "GetObject")
    for error in (denied, wrapped, plain, FileNotFoundError(signed), TimeoutError(signed), ValueError(signed)):
        with pytest.raises(OSError, match=r"k\?\*\*\*") as caught, store_errors(place):
            raise error
        assert "hunter2" not in "".join(traceback.format_exception(caught.value))
    kept = ValueError("nothing secret")
    with pytest.raises(ValueError, match=r"^nothing secret$") as caught, store_errors("s3://b/k"):
        raise kept
    assert caught.value is kept
