"""Each fault does to a real client and a real store what it says, and nothing else."""

import base64
import hashlib
import http.client
import os
import socket
import time

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    FlexibleChecksumError,
    PaginationError,
    ReadTimeoutError,
    ResponseStreamingError,
)

from tests.faults.digests import CheckDigests
from tests.faults.faults import Answer, Cut, Delay, FlipBit, Reset, Stall
from tests.faults.listings import LoseKeys, RepeatPage, SmallPages
from tests.faults.proxied import SIGNATURE
from tests.faults.store import s3_client


def differing_bits(first, second):
    assert len(first) == len(second)
    return sum((a ^ b).bit_count() for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("status", [403, 404, 409, 412, 500, 503])
@pytest.mark.parametrize("place", ["before", "after"])
def test_answers(status, place, store):
    fault = store.proxy.install(Answer(status, mutating=True, place=place, at=2))
    assert [store.put(key) for key in ("one", "two", "three")] == [200, status, 200]
    assert store.keys() == (["one", "three"] if place == "before" else ["one", "three", "two"])
    assert (fault.matched, fault.fired) == (3, 1)
    assert store.proxy.requests[1].faults == ["Answer"]


def test_an_error_inside_a_success(store):
    store.proxy.install(Answer(200, "InternalError", operation="CompleteMultipartUpload", place="after"))
    upload = store.client.create_multipart_upload(Bucket=store.bucket, Key="k")["UploadId"]
    which = {"Bucket": store.bucket, "Key": "k", "UploadId": upload}
    part = {"PartNumber": 1, "ETag": store.client.upload_part(**which, PartNumber=1, Body=b"part")["ETag"]}
    with pytest.raises(ClientError, match="InternalError"):
        store.client.complete_multipart_upload(**which, MultipartUpload={"Parts": [part]})
    assert store.keys() == ["k"]


@pytest.mark.parametrize("place", ["before", "after"])
def test_resets(place, store):
    store.proxy.install(Reset(operation="PutObject", place=place, first=1))
    with pytest.raises(ConnectionClosedError):
        store.put()
    assert store.keys() == ([] if place == "before" else ["k"])
    assert store.proxy.requests[0].answered == 0
    assert store.put() == 200


@pytest.mark.parametrize("kind", ["nothing, reset", "half, reset", "half, close"])
def test_how_a_connection_ends(kind, store):
    body = os.urandom(1000)
    store.put("k", body)
    amount, ending = kind.split(", ")
    store.proxy.install(Reset(place="after") if amount == "nothing" else Cut(0.5, ending))
    host, port = store.proxy.endpoint.removeprefix("http://").split(":")
    got, is_reset = b"", False
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(f"GET /{store.bucket}/k HTTP/1.1\r\nHost: s3\r\nAuthorization: {SIGNATURE}\r\n\r\n".encode())
        try:
            while more := connection.recv(65536):
                got += more
        except ConnectionResetError:
            is_reset = True
    assert is_reset == (ending == "reset"), got
    assert got.partition(b"\r\n\r\n")[2] == (b"" if amount == "nothing" else body[:500])
    assert (b"Content-Length: 1000\r\n" in got) == (amount == "half")


def test_clients_notice_a_truncated_body(store):
    store.put("k", os.urandom(1000))
    store.proxy.install(Cut(0.9, first=1))
    with pytest.raises(ResponseStreamingError):
        store.get()
    assert len(store.get()) == 1000


@pytest.mark.parametrize(("fault", "keys"), [(Stall(), []), (Stall(place="after"), ["k"]), (Cut(0, seconds=60), ["k"])])
def test_stalls(fault, keys, store):
    store.proxy.install(fault)
    impatient = s3_client(store.proxy.endpoint, read_timeout_s=0.3)
    if isinstance(fault, Cut):
        store.direct.put_object(Bucket=store.bucket, Key="k", Body=b"body")
        with pytest.raises(ReadTimeoutError):
            impatient.get_object(Bucket=store.bucket, Key="k")["Body"].read()
    else:
        with pytest.raises(ReadTimeoutError):
            impatient.put_object(Bucket=store.bucket, Key="k", Body=b"body")
    assert store.keys() == keys


def test_a_slow_store(store):
    store.proxy.install(Delay(seconds=0.3, first=1))
    began = time.monotonic()
    assert store.put() == 200
    assert time.monotonic() - began >= 0.3


def test_a_bit_flipped_on_the_way_out(store):
    body = os.urandom(1000)
    store.put("k", body)
    store.proxy.install(FlipBit(operation="GetObject"))
    with pytest.raises(FlexibleChecksumError):
        store.get()
    part = store.get(Range="bytes=100-199")  # a range has no checksum
    assert differing_bits(part, body[100:200]) == 1


def test_a_bit_flipped_into_the_store_which_does_not_look(store):
    body = os.urandom(1000)
    store.proxy.install(FlipBit("into", 3))
    assert store.put("k", body) == 200
    found = store.body()
    assert differing_bits(found, body) == 1
    assert found[3] != body[3]


def test_a_bit_flipped_into_an_aws_chunked_body_is_one_of_the_data(store):
    store.proxy.install(FlipBit("into"))
    headers = {"Authorization": SIGNATURE, "Content-Encoding": "aws-chunked", "x-amz-decoded-content-length": "5"}
    headers["x-amz-content-sha256"] = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
    connection = http.client.HTTPConnection(store.proxy.endpoint.removeprefix("http://"), timeout=5)
    connection.request("PUT", f"/{store.bucket}/k", b"5\r\nhello\r\n0\r\n\r\n", headers)
    assert connection.getresponse().status == 200
    connection.close()
    assert store.body() == b"hemlo"


@pytest.mark.parametrize("md5", [True, False])
def test_a_store_that_looks_refuses_flipped_bits(md5, store):
    more = {"ContentMD5": base64.b64encode(hashlib.md5(b"body").digest()).decode()} if md5 else {}  # noqa: S324
    store.proxy.install(FlipBit("into", at=2))
    store.proxy.install(CheckDigests())
    assert [store.put(key, **more) for key in ("one", "two")] == [200, 400]
    assert store.keys() == ["one"]


def test_listings(store):
    for number in range(5):
        store.direct.put_object(Bucket=store.bucket, Key=f"k {number}", Body=b"")
    store.proxy.install(SmallPages(2))
    whole = [["k 0", "k 1"], ["k 2", "k 3"], ["k 4"]]
    assert store.pages() == whole
    for at in (1, 2, 3):
        store.proxy.install(RepeatPage(at=at))
        assert store.pages() == sorted([whole[at - 1], *whole])
    store.proxy.install(RepeatPage(same_token=True, at=2))
    with pytest.raises(PaginationError, match="same next token"):
        store.pages()
    store.proxy.install(LoseKeys("k 2"))
    assert store.pages() == [["k 0", "k 1"], ["k 3"], ["k 4"]]
    error = store.proxy.install(Answer(500, operation="ListObjectsV2", at=2))
    with pytest.raises(ClientError, match="InternalError"):
        store.pages()
    assert error.matched == 2


def test_the_same_seed_draws_the_same_faults(store):
    drawn = []
    for seed in (1, 1, 2):
        fault = store.proxy.install(Answer(503, probability=0.5, seed=seed))
        drawn.append([store.put() for _ in range(12)])
        assert 0 < fault.fired < 12
        store.proxy.clear()
    assert drawn[0] == drawn[1] != drawn[2]


def test_filters(store):
    faults = [
        store.proxy.install(Answer(503, operation="Put.*|UploadPart", key="yes")),
        store.proxy.install(Answer(500, conditional=True)),
        store.proxy.install(Answer(403, mutating=False)),
    ]
    assert [store.put("yes/1"), store.put("no"), store.put("no", IfNoneMatch="*")] == [503, 200, 500]
    with pytest.raises(ClientError, match="AccessDenied"):
        store.get("yes/1")
    assert [fault.fired for fault in faults] == [1, 1, 1]
    store.proxy.clear()
    store.proxy.forget()
    assert store.put("yes/1") == 200
    assert [(seen.number, seen.mutation) for seen in store.proxy.requests] == [(1, 1)]
