"""Uploads: an object is whole or absent, whatever becomes of the requests that it is made of, or of its writer."""

import os
import subprocess
import sys

import pytest

from pipeline.errors import SinkError, StoreUnavailableError
from pipeline.storage.folder import Folder
from pipeline.storage.s3 import S3Store
from pipeline.storage.s3_upload import S3Upload
from tests.faults.faults import Answer, Kill, Reset
from tests.faults.proxied import ProxiedBucket

BEGIN, PART, COMPLETE = "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"
# Just enough for two parts.
LARGE = 64 * 2**20 + 1000
WRITER = """
import sys
from pipeline.storage.folder import Folder
with Folder(sys.argv[1]).writer("shard") as stream:
    for _ in range(65):
        stream.write(bytes(2**20))
print("still alive")
"""


@pytest.fixture
def large() -> bytes:
    """Bytes for two parts, no two pieces of them alike."""
    return os.urandom(1000) + bytes(LARGE - 1000)


def uploads(store: ProxiedBucket) -> list[str]:
    """Names of uploads that the store still keeps parts of."""
    return [each["Key"] for each in store.direct.list_multipart_uploads(Bucket=store.bucket).get("Uploads", [])]


def write(folder: Folder, name: str, data: bytes) -> None:
    with folder.writer(name) as stream:
        stream.write(data)


def test_small_files_take_one_request(store: ProxiedBucket):
    upload = S3Upload(S3Store(f"s3://{store.bucket}", 30.0), "a")
    assert [upload.write(b"one, "), upload.write(b""), upload.write(b"two")] == [5, 0, 3]
    upload.flush()
    assert store.proxy.requests == []
    upload.finish()
    assert store.body("a") == b"one, two"
    assert [seen.operation for seen in store.proxy.requests] == ["PutObject"]


def test_an_empty_file_is_a_file(store: ProxiedBucket):
    write(Folder(f"s3://{store.bucket}"), "a", b"")
    assert store.body("a") == b""


# What goes wrong with the first request of an operation, or with the one that says so.
ALL_THAT_CAN_BE_LOST = {
    "requests": [Reset(operation=PART, at=1), Answer(503, operation=PART, at=3), Answer(503, operation=COMPLETE, at=1)],
    "answers": [
        Reset(operation=BEGIN, at=1, place="after"),
        Answer(503, operation=PART, at=1, place="after"),
        Reset(operation=PART, at=3, place="after"),
        Reset(operation=COMPLETE, at=1, place="after"),
    ],
    "the end, by an error inside a success": [Answer(200, "InternalError", operation=COMPLETE, at=1, place="after")],
    "the end, by a conflict": [Answer(409, operation=COMPLETE, at=1)],
}


def test_a_large_file_survives_the_loss_of_any_request_or_answer(store: ProxiedBucket, large: bytes):
    folder = Folder(f"s3://{store.bucket}", 30.0)
    for name, faults in ALL_THAT_CAN_BE_LOST.items():
        store.proxy.clear()
        for fault in faults:
            store.proxy.install(fault)
        write(folder, name, large)
        assert [fault.fired for fault in faults] == [1] * len(faults), (name, faults)
        ends = [seen.stored for seen in store.proxy.seen(COMPLETE) if seen.key == name]
        assert [200] in ends, (name, ends)
        assert ends.index([200]) == len(ends) - 1, "what was done is not asked for again: S3 might not know it any more"
        assert store.body(name) == large, name
        store.direct.delete_object(Bucket=store.bucket, Key=name)
    assert uploads(store) == ["answers"], "the first of two that were begun, whose answer was lost"


def test_a_large_file_that_cannot_be_finished_is_given_up(store: ProxiedBucket, large: bytes):
    folder = Folder(f"s3://{store.bucket}", 0.1)
    store.direct.put_object(Bucket=store.bucket, Key="taken", Body=b"theirs")
    with pytest.raises(FileExistsError):
        write(folder, "taken", large)
    assert store.body("taken") == b"theirs"
    fault = store.proxy.install(Answer(503, operation=COMPLETE))
    with pytest.raises(StoreUnavailableError, match="unended could not be reached"):
        write(folder, "unended", large)
    fault.status, fault.code = 404, "NoSuchUpload"
    with pytest.raises(SinkError, match="the upload of aborted is gone"):
        write(folder, "aborted", large)
    assert (store.keys(), uploads(store)) == (["taken"], [])


@pytest.mark.parametrize("place", ["before", "after"])
def test_a_writer_that_is_killed_at_the_end_leaves_a_whole_object_or_none(place: str, store: ProxiedBucket):
    fault = store.proxy.install(Kill(operation=COMPLETE, place=place))
    command = [sys.executable, "-c", WRITER, f"s3://{store.bucket}"]
    killed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (killed.returncode, killed.stdout, fault.fired) == (-9, "", 1), killed.stderr
    if place == "after":
        assert store.body("shard") == bytes(65 * 2**20)
    else:
        assert store.keys() == []
        (upload,) = Folder(f"s3://{store.bucket}").unfinished_uploads()
        assert upload.name == "shard"
        Folder(f"s3://{store.bucket}").abort_upload(upload)
    assert uploads(store) == []
