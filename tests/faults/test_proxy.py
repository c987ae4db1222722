"""The proxy and the store without faults: every byte passes as it came, the log is right, nothing is left behind."""

import http.client
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import psutil
import pytest
import s3fs
from botocore.exceptions import ClientError, ConnectionClosedError

from tests.faults.faults import Fault
from tests.faults.operations import classify
from tests.faults.proxied import SIGNATURE
from tests.faults.proxy import FaultProxy
from tests.faults.store import S3Server, s3_client
from tests.faults.wire import Request

REPOSITORY = Path(__file__).resolve().parents[2]
ODD_KEYS = ["a b", "a%2Fb", "a+b", "a#b?c", "é", "a//b", "a&b=c;d", "/a", "a/", "a😀'\"<b>"]
# What clients send over https: sizes in the body, and the checksum behind it.
AWS_CHUNKED = b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n"
HOLDER = """
import sys, time
from tests.faults.store import S3Server
with S3Server() as server:
    print(server.process.pid, flush=True)
    time.sleep(60)
"""


def file_system(proxy: FaultProxy) -> s3fs.S3FileSystem:
    """A fresh s3fs that reaches the store through the proxy."""
    return s3fs.S3FileSystem(
        key="testing",
        secret="testing",  # noqa: S106  moto looks at no signature
        client_kwargs={"endpoint_url": proxy.endpoint, "region_name": "us-east-1"},
        skip_instance_cache=True,
    )


@pytest.mark.parametrize("key", ODD_KEYS)
def test_odd_keys_arrive_byte_for_byte(key, s3_server, bucket, fault_proxy):
    client = s3_client(fault_proxy.endpoint)
    client.put_object(Bucket=bucket, Key=key, Body=b"odd")
    stored = s3_server.client.list_objects_v2(Bucket=bucket)
    assert [item["Key"] for item in stored["Contents"]] == [key]
    assert client.get_object(Bucket=bucket, Key=key)["Body"].read() == b"odd"
    assert {seen.key for seen in fault_proxy.requests} == {key}


def test_boto3_sees_the_store_as_without_a_proxy(s3_server, bucket, fault_proxy):
    client, direct = s3_client(fault_proxy.endpoint), s3_server.client
    body = os.urandom(300_000)
    client.put_object(Bucket=bucket, Key="a/one", Body=body, IfNoneMatch="*", Metadata={"note": "kept"})
    through, straight = (each.head_object(Bucket=bucket, Key="a/one") for each in (client, direct))
    for name in ("ContentLength", "ETag", "LastModified", "Metadata"):
        assert through[name] == straight[name], name
    assert client.get_object(Bucket=bucket, Key="a/one")["Body"].read() == body
    assert client.get_object(Bucket=bucket, Key="a/one", Range="bytes=10-19")["Body"].read() == body[10:20]
    with pytest.raises(ClientError, match="PreconditionFailed"):
        client.put_object(Bucket=bucket, Key="a/one", Body=b"", IfNoneMatch="*")
    client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "a/one"}, {"Key": "a&b"}]})
    client.delete_object(Bucket=bucket, Key="a/one")  # 204
    with pytest.raises(ClientError, match="404"):
        client.head_object(Bucket=bucket, Key="a/one")
    log = [(seen.operation, seen.conditional, seen.mutation, seen.stored) for seen in fault_proxy.requests]
    assert log == [
        ("PutObject", True, 1, [200]),
        ("HeadObject", False, 0, [200]),
        ("GetObject", False, 0, [200]),
        ("GetObject", False, 0, [206]),
        ("PutObject", True, 2, [412]),
        ("DeleteObjects", False, 3, [200]),
        ("DeleteObject", False, 4, [204]),
        ("HeadObject", False, 0, [404]),
    ]
    assert fault_proxy.seen("DeleteObjects")[0].key == "a/one\na&b"
    assert fault_proxy.num_mutating == 4


def test_s3fs_multipart_and_listing(bucket, fault_proxy):
    store = file_system(fault_proxy)
    body = os.urandom(15 << 20)
    with store.open(f"{bucket}/deep/large", "wb", block_size=6 << 20) as stream:
        for start in range(0, len(body), 1 << 20):
            stream.write(body[start : start + (1 << 20)])
    store.pipe_file(f"{bucket}/deep/small", b"")
    assert store.cat_file(f"{bucket}/deep/large") == body
    assert store.cat_file(f"{bucket}/deep/large", start=7_000_000, end=7_000_100) == body[7_000_000:7_000_100]
    assert store.find(bucket) == [f"{bucket}/deep/large", f"{bucket}/deep/small"]
    sizes = [seen.size for seen in fault_proxy.seen("UploadPart")]
    assert sum(sizes) == len(body), sizes
    assert len(sizes) > 1
    mutations = [seen.operation for seen in fault_proxy.requests if seen.mutating]
    parts = ["UploadPart"] * len(sizes)
    assert mutations == ["CreateMultipartUpload", *parts, "CompleteMultipartUpload", "PutObject"]


@pytest.mark.parametrize("transfer", [{}, {"Transfer-Encoding": "chunked"}], ids=["length", "chunked"])
def test_aws_chunked_bodies_on_one_connection(transfer, s3_server, bucket, fault_proxy):
    headers = {
        "Authorization": SIGNATURE,
        **transfer,
        "Content-Encoding": "aws-chunked",
        "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "x-amz-decoded-content-length": "5",
        "x-amz-trailer": "x-amz-checksum-crc32",
    }
    connection = http.client.HTTPConnection(fault_proxy.endpoint.removeprefix("http://"), timeout=10)
    for key in ("one", "two"):
        body = iter([AWS_CHUNKED[:7], AWS_CHUNKED[7:]]) if transfer else AWS_CHUNKED
        connection.request("PUT", f"/{bucket}/{key}", body, headers, encode_chunked=bool(transfer))
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, b"")
        assert s3_server.client.get_object(Bucket=bucket, Key=key)["Body"].read() == b"hello"
    connection.close()


def test_many_clients_and_one_winner(bucket, fault_proxy):
    client = s3_client(fault_proxy.endpoint)

    def create(key: str) -> str:
        try:
            client.put_object(Bucket=bucket, Key=key, Body=b"mine", IfNoneMatch="*")
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return "won"

    keys = [f"{number // 8}" for number in range(64)]
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(create, keys))
    assert Counter(outcomes) == {"won": 8, "PreconditionFailed": 56}
    assert [seen.mutation for seen in fault_proxy.requests] == list(range(1, 65))


@pytest.mark.parametrize(
    ("method", "target", "operation", "key"),
    [
        ("PUT", "/b/k?partNumber=2&uploadId=x", "UploadPart", "k"),
        ("POST", "/b/k?uploads", "CreateMultipartUpload", "k"),
        ("POST", "/b/k?uploadId=x", "CompleteMultipartUpload", "k"),
        ("DELETE", "/b/k%2Fl?uploadId=x", "AbortMultipartUpload", "k/l"),
        ("GET", "/b/k?uploadId=x", "ListParts", "k"),
        ("GET", "/b?list-type=2&prefix=a%2F&encoding-type=url", "ListObjectsV2", "a/"),
        ("GET", "/b/?uploads", "ListMultipartUploads", ""),
        ("GET", "/b?location", "GET?location", ""),
        ("PUT", "/b/k?tagging", "PUT?tagging", "k"),
        ("GET", "/", "ListBuckets", ""),
        ("HEAD", "/b", "HeadBucket", ""),
    ],
)
def test_operations(method, target, operation, key):
    seen = classify(Request((), b"", method, target), 1, 1)
    assert (seen.operation, seen.key, seen.bucket) == (operation, key, "b" if target != "/" else "")
    copying = (("x-amz-copy-source", "b/other"),)
    assert classify(Request(copying, b"", "PUT", "/b/k"), 1, 1).operation == "CopyObject"


def test_the_environment_leads_clients_through_the_proxy(bucket, fault_proxy, monkeypatch):
    for name, value in fault_proxy.environment().items():
        monkeypatch.setenv(name, value)
    boto3.Session().client("s3").put_object(Bucket=bucket, Key="one", Body=b"1")
    s3fs.S3FileSystem(skip_instance_cache=True).pipe_file(f"{bucket}/two", b"2")
    assert [seen.key for seen in fault_proxy.seen("PutObject")] == ["one", "two"]


def test_a_bug_in_a_fault_fails_the_test_that_uses_it(s3_server):
    proxy = FaultProxy(s3_server.endpoint).__enter__()
    proxy.install(Fault())
    with pytest.raises(ConnectionClosedError):
        s3_client(proxy.endpoint).list_buckets()
    with pytest.raises(RuntimeError, match="NotImplementedError"):
        proxy.__exit__(None, None, None)


def test_a_store_that_is_gone_is_said_so():
    with S3Server() as other, FaultProxy(other.endpoint) as proxy:
        other.process.kill()
        other.process.wait()
        with pytest.raises(ClientError, match="StoreGone"):
            s3_client(proxy.endpoint).list_buckets()
        assert proxy.requests[0].stored == [0]


def test_the_server_ends_with_whoever_started_it():
    holder = subprocess.Popen([sys.executable, "-c", HOLDER], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    server = psutil.Process(int(holder.stdout.readline()))
    assert server.is_running()
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    until = time.monotonic() + 10
    while server.is_running() and server.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until, f"{server} is still there"
        time.sleep(0.02)
