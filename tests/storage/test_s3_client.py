"""Requests to S3: sent once or a few times as asked, and answered in the operating system's words."""

import multiprocessing
import socket
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import pytest

from pipeline.errors import AccessDeniedError
from pipeline.storage.folder import Folder
from pipeline.storage.s3_client import S3Client
from pipeline.storage.trouble import CredentialsError, FileTooLargeError, RangeNotThereError, take_retries
from tests.faults.faults import Answer, Cut, FlipBit, Stall
from tests.faults.proxied import ProxiedBucket


@pytest.fixture
def at(store: ProxiedBucket) -> dict[str, str]:
    """Where there is an object."""
    store.direct.put_object(Bucket=store.bucket, Key="k", Body=b"0123456789")
    return {"Bucket": store.bucket, "Key": "k"}


@pytest.mark.parametrize("fault", [Answer(503), Answer(500), Answer(409), Stall(seconds=5)], ids=str)
def test_what_is_to_be_sent_once_is_sent_once(fault: Answer | Stall, at: dict[str, str], store: ProxiedBucket):
    store.proxy.install(fault)
    with pytest.raises((ConnectionError, TimeoutError)):
        S3Client().call_once("put_object", **at, Body=b"x", IfNoneMatch="*")
    assert len(store.proxy.requests) == 1


def test_other_requests_are_sent_a_few_times(at: dict[str, str], store: ProxiedBucket):
    fault = store.proxy.install(Answer(503, first=2))
    take_retries()
    assert S3Client().call("head_object", **at)["ContentLength"] == 10
    assert take_retries() == 2
    store.proxy.install(Answer(503))
    with pytest.raises(ConnectionError):
        S3Client().call("head_object", **at)
    assert (fault.fired, len(store.proxy.requests)) == (2, 6), "not more than three times each"


def test_a_body_comes_whole_or_not_at_all(at: dict[str, str], store: ProxiedBucket):
    assert S3Client().get(**at) == b"0123456789"
    assert S3Client().get(**at, Range="bytes=3-5") == b"345"
    assert S3Client().get(10, **at) == b"0123456789"
    with pytest.raises(FileTooLargeError, match="it has 10 bytes, 9 are allowed"):
        S3Client().get(9, **at)
    with pytest.raises(RangeNotThereError):
        S3Client().get(**at, Range="bytes=10-11")
    for fault in (Cut(0.5), Cut(0.5, "reset"), Cut(0), Cut(0.5, seconds=5), FlipBit()):
        store.proxy.clear()
        store.proxy.install(fault)
        with pytest.raises((ConnectionError, TimeoutError)):
            S3Client().get(**at)


def test_what_the_store_says_is_told_by_kind(at: dict[str, str], store: ProxiedBucket):
    client, nowhere = S3Client(), {**at, "Key": "nothing"}
    with pytest.raises(FileNotFoundError, match=f"s3://{store.bucket}/nothing"):
        client.get(**nowhere)
    with pytest.raises(FileNotFoundError):
        client.call("head_object", **nowhere)
    with pytest.raises(FileNotFoundError, match="NoSuchBucket"):
        client.call("list_objects_v2", Bucket=f"{store.bucket}-of-nobody")
    with pytest.raises(FileExistsError):
        client.call_once("put_object", **at, Body=b"x", IfNoneMatch="*")
    with pytest.raises(FileExistsError):
        client.get(**at, IfMatch='"another"')
    assert store.body() == b"0123456789"


VERBS: dict[str, Callable[[Folder], object]] = {
    "files": lambda folder: list(folder.files()),
    "read": lambda folder: folder.read("a"),
    "create": lambda folder: folder.create("a", b""),
    "require_writable": lambda folder: folder.require_writable(),
}


@pytest.fixture
def no_credentials(other_clients, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    """An environment in which nothing gives access to S3, and nobody outside is asked."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")


@pytest.mark.usefixtures("no_credentials")
@pytest.mark.parametrize("verb", ["files", "read"])
def test_missing_credentials_are_told_at_once(verb: str):
    with pytest.raises(CredentialsError, match="NoCredentialsError"):
        VERBS[verb](Folder("s3://a-bucket/photos"))


@pytest.mark.usefixtures("no_credentials")
@pytest.mark.parametrize("verb", ["create", "require_writable"])
def test_without_credentials_nothing_can_be_written(verb: str):
    with pytest.raises(AccessDeniedError, match="no permission to write s3://a-bucket/photos"):
        VERBS[verb](Folder("s3://a-bucket/photos"))


@pytest.mark.usefixtures("other_clients")
def test_a_store_that_is_not_there_is_trouble(store: ProxiedBucket, monkeypatch: pytest.MonkeyPatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
    with pytest.raises(ConnectionError, match="EndpointConnectionError"):
        S3Client().get(Bucket=store.bucket, Key="k")


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_client_that_was_used_goes_to_other_processes_of_any_start(
    start: str, at: dict[str, str], store: ProxiedBucket
):
    client = S3Client()
    assert client.get(**at) == b"0123456789"
    with ProcessPoolExecutor(1, multiprocessing.get_context(start)) as pool:
        assert pool.submit(client.get, **at).result(60) == b"0123456789"
        store.proxy.install(Answer(503))
        store.proxy.forget()
        with pytest.raises(ConnectionError):
            pool.submit(client.call_once, "head_object", **at).result(60)
    assert len(store.proxy.requests) == 1, "there, too, what is to be sent once is"
