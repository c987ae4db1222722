"""S3 and what speaks its protocol: `If-None-Match: *` makes an object appear, or reports that its name was taken.

An answer that leaves open what happened (412 after a lost answer, 409, 5xx, timeout, reset) is settled by reading
back: the bytes that stand are ours, or somebody else's.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from typing import IO, Any, TypeVar, cast

import pyarrow as pa

from pipeline.errors import ConfigError, SinkError, StoreUnavailableError
from pipeline.storage.entry import FileEntry, UnfinishedUpload
from pipeline.storage.local import STAGING
from pipeline.storage.s3_client import S3Client, split_uri
from pipeline.storage.s3_reader import S3Reader
from pipeline.storage.s3_upload import S3Upload
from pipeline.storage.trouble import as_sink_error, patiently, unavailable, waits

T = TypeVar("T")

_PROBE = f"{STAGING}/conditional-write-probe"


class S3Store:
    """The verbs on a prefix of a bucket.

    Args:
        uri: `s3://bucket` or `s3://bucket/prefix`.
        patience_s: how long the store may be in trouble before a verb gives up, in seconds.

    Raises:
        ConfigError: there is no bucket in the URI.
    """

    def __init__(self, uri: str, patience_s: float) -> None:
        self.bucket, self.prefix = split_uri(uri.rstrip("/"))
        if not self.bucket:
            raise ConfigError(f"{uri} names no bucket; write s3://bucket/prefix")
        self.uri = f"s3://{self.bucket}/{self.prefix}".rstrip("/")
        self._patience_s = patience_s
        self._client = S3Client()

    def is_folder(self) -> bool:
        """Whether any key begins with the prefix."""
        pages = self._pages(Prefix=self._key(""), MaxKeys=1)
        return bool(next(pages).get("Contents"))

    def files(self) -> Iterator[FileEntry]:
        """Every key below the prefix, in the order of their bytes, hidden ones left out."""
        prefix = self._key("")
        firsts: set[str] = set()
        for page in self._pages(Prefix=prefix):
            items = page.get("Contents", [])
            if items and items[0]["Key"] in firsts:
                raise StoreUnavailableError(f"{self.uri}: the listing gave {items[0]['Key']} twice; try again later")
            firsts.update(item["Key"] for item in items[:1])
            for item in items:
                name = item["Key"][len(prefix) :]
                if name and not name.endswith("/") and not any(part.startswith(".") for part in name.split("/")):
                    modified_s = item["LastModified"].timestamp()
                    yield FileEntry(name, int(item["Size"]), item["ETag"].strip('"'), modified_s)

    def names(self, folder: str) -> Iterator[str]:
        """The names directly in `folder`."""
        prefix = self._key(f"{folder}/" if folder else "")
        for page in self._pages(Prefix=prefix, Delimiter="/"):
            for item in page.get("Contents", []):
                if item["Key"] != prefix:
                    yield item["Key"][len(prefix) :]
            for item in page.get("CommonPrefixes", []):
                yield item["Prefix"][len(prefix) : -1]

    def read(self, name: str) -> bytes:
        """The bytes of `name`."""
        return self._patiently(name, lambda: self._client.get(**self._at(name)))

    def open(self, name: str) -> pa.NativeFile:
        """A seekable reader of `name`; each read is one request."""
        return pa.PythonFile(S3Reader(self, name), mode="r")

    def read_range(self, name: str, start: int, end: int) -> bytes:
        """The bytes of `name` from one offset to before another."""
        return self._patiently(name, lambda: self._client.get(**self._at(name), Range=f"bytes={start}-{end - 1}"))

    def read_end(self, name: str, num_bytes: int) -> bytes:
        """The last bytes of `name`."""
        return self._patiently(name, lambda: self._client.get(**self._at(name), Range=f"bytes=-{num_bytes}"))

    def size_bytes(self, name: str) -> int:
        """Bytes of `name`."""
        answer = self._patiently(name, lambda: self._client.call("head_object", **self._at(name)))
        return int(answer["ContentLength"])

    def entry(self, name: str) -> FileEntry:
        """What is to be said of `name`."""
        found = self._patiently(name, lambda: self._client.call("head_object", **self._at(name)))
        version = found["ETag"].strip('"')
        return FileEntry(name, int(found["ContentLength"]), version, found["LastModified"].timestamp())

    def delete(self, name: str) -> None:
        """Removes `name`; no harm if it is gone."""
        with as_sink_error(self.uri):
            self._patiently(name, lambda: self._client.call("delete_object", **self._at(name)))

    def replace(self, name: str, data: bytes) -> None:
        """Makes these the bytes of `name`; sending them twice is harmless."""
        with as_sink_error(self.uri):
            self._patiently(name, lambda: self._client.call("put_object", **self._at(name), Body=data))

    def unfinished_uploads(self) -> Iterator[UnfinishedUpload]:
        """Uploads below the prefix that were begun and neither completed nor aborted, in the order of their names."""
        prefix = self._key("")
        marks: dict[str, str] = {}
        while True:
            page = self._listing("list_multipart_uploads", Prefix=prefix, **marks)
            for item in page.get("Uploads", []):
                yield UnfinishedUpload(item["Key"][len(prefix) :], item["UploadId"], item["Initiated"].timestamp())
            if not page.get("IsTruncated"):
                return
            marks = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    def abort_upload(self, upload: UnfinishedUpload) -> None:
        """Removes the parts of an upload; no harm if they are gone."""
        with as_sink_error(self.uri), suppress(FileNotFoundError):
            self.request("abort_multipart_upload", upload.name, UploadId=upload.token)

    def now_s(self) -> float:
        """The time as the store says it in the head of an answer."""
        with as_sink_error(self.uri):
            answer = self._listing("list_objects_v2", Prefix=self._key(""), MaxKeys=1)
            said = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
            if said is None:
                raise SinkError(f"{self.uri} does not say what time it is, so the age of its files is not known")
            return parsedate_to_datetime(said).timestamp()

    def create(self, name: str, data: bytes) -> bool:
        """Creates `name` unless it is there; sent once at a time and settled by reading back."""
        deadline = time.monotonic() + self._patience_s
        with as_sink_error(self.uri):
            for wait_s in waits():
                try:
                    self._client.call_once("put_object", **self._at(name), Body=data, IfNoneMatch="*")
                except (FileExistsError, ConnectionError, TimeoutError) as error:
                    standing = self._standing(name, error, deadline)
                    if standing is not None:
                        return standing == data
                else:
                    return True
                time.sleep(wait_s)
        raise AssertionError("waits never end")

    @contextmanager
    def writer(self, name: str) -> Iterator[IO[bytes]]:
        """A stream of parts that become an object when the block ends well; a process that dies leaves parts alone."""
        upload = S3Upload(self, name)
        with as_sink_error(self.uri):
            try:
                yield cast("IO[bytes]", upload)
                upload.finish()
            except BaseException:
                upload.abandon()
                raise

    def require_writable(self) -> None:
        """Looks whether the store honours `If-None-Match`, by one small object that stays for the next time.

        Raises:
            ConfigError: it does not; two writers would overwrite each other.
            SinkError, AccessDeniedError: it cannot be written.
        """
        self.create(_PROBE, b"probe")
        with as_sink_error(self.uri):
            try:
                self._patiently(_PROBE, self._overwrite_probe)
            except FileExistsError:
                return
        raise ConfigError(
            f"{self.uri}: this store ignores If-None-Match: * (it overwrote {_PROBE}), so two writers would lose each "
            "other's commits; use a store with conditional writes, or local disk"
        )

    def request(self, operation: str, name: str, **arguments: Any) -> dict[str, Any]:
        """The answer to a request about `name` that may be repeated, tried as long as patience lasts."""
        return self._patiently(name, lambda: self._client.call(operation, **self._at(name), **arguments))

    def request_once(self, operation: str, name: str, **arguments: Any) -> dict[str, Any]:
        """The answer to a request about `name` that is sent once."""
        return self._client.call_once(operation, **self._at(name), **arguments)

    @property
    def patience_s(self) -> float:
        """How long the store may be in trouble, in seconds."""
        return self._patience_s

    def _overwrite_probe(self) -> None:
        self._client.call_once("put_object", **self._at(_PROBE), Body=b"probe", IfNoneMatch="*")

    def _standing(self, name: str, error: OSError, deadline: float) -> bytes | None:
        """The bytes that stand after an unclear answer; None if there are none, so that the write may be repeated.

        Raises:
            StoreUnavailableError: patience is over, and whether the write was done is not known.
        """
        is_late = time.monotonic() >= deadline
        try:
            return self._client.get(**self._at(name))
        except FileNotFoundError:
            if is_late:
                raise unavailable(f"{self.uri}/{name}", error, self._patience_s) from error
            return None
        except (ConnectionError, TimeoutError) as unread:
            if is_late:
                raise unavailable(f"{self.uri}/{name}", unread, self._patience_s) from unread
            return None

    def _pages(self, **arguments: Any) -> Iterator[dict[str, Any]]:
        while True:
            page = self._listing("list_objects_v2", **arguments)
            yield page
            if not page.get("IsTruncated"):
                return
            arguments["ContinuationToken"] = page["NextContinuationToken"]

    def _listing(self, operation: str, **arguments: Any) -> dict[str, Any]:
        return patiently(
            lambda: self._client.call(operation, Bucket=self.bucket, **arguments), self.uri, self._patience_s
        )

    def _patiently(self, name: str, action: Callable[[], T]) -> T:
        return patiently(action, f"{self.uri}/{name}", self._patience_s)

    def _at(self, name: str) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": self._key(name)}

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}" if self.prefix else name
