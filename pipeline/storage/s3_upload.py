"""A file that is sent to S3 part by part while it is written, and exists once its last request was done."""

import time
from typing import TYPE_CHECKING, Any

from pipeline.errors import SinkError
from pipeline.storage.trouble import unavailable, waits

if TYPE_CHECKING:
    from pipeline.storage.s3 import S3Store

# S3 takes at most 10,000 parts of 5 MiB to 5 GiB, and 5 TiB in all: parts double in size every so many.
PART_BYTES = 64 * 2**20
_PARTS_OF_A_SIZE = 2_000


class S3Upload:
    """The write half of a file object; small files go as one request.

    Args:
        store: where it goes.
        name: one that no other writer has.
    """

    def __init__(self, store: "S3Store", name: str) -> None:
        self._store, self._name = store, name
        self._buffer = bytearray()
        self._parts: list[dict[str, Any]] = []
        self._upload: str | None = None
        self._size_bytes = 0

    def write(self, data: bytes) -> int:
        """Takes bytes, and sends a part when there are enough of them."""
        self._buffer += data
        self._size_bytes += len(data)
        while len(self._buffer) >= (part_bytes := PART_BYTES << len(self._parts) // _PARTS_OF_A_SIZE):
            self._send(part_bytes)
        return len(data)

    def flush(self) -> None:
        """Nothing: parts have a least size."""

    def finish(self) -> None:
        """Sends what is left and makes the object appear, if its name is free.

        Raises:
            FileExistsError: it is not.
            StoreUnavailableError: it is not known whether the object is there.
        """
        if self._upload is None:
            if not self._store.create(self._name, bytes(self._buffer)):
                raise FileExistsError(f"{self._name} is there already")
            return
        if self._buffer:
            self._send(len(self._buffer))
        self._complete()

    def abandon(self) -> None:
        """Lets go of the parts that were sent; the object, if it came to be after all, stays."""
        if self._upload is not None:
            try:
                self._store.request_once("abort_multipart_upload", self._name, UploadId=self._upload)
            except OSError:
                return  # parts without an object are found by jobs/clean.py

    def _send(self, num_bytes: int) -> None:
        if self._upload is None:
            self._upload = self._store.request("create_multipart_upload", self._name)["UploadId"]
        part = {"PartNumber": len(self._parts) + 1}
        body = bytes(self._buffer[:num_bytes])
        answer = self._store.request("upload_part", self._name, UploadId=self._upload, Body=body, **part)
        sums = {key: answer[key] for key in answer if key.startswith("Checksum") and key != "ChecksumType"}
        self._parts.append({**part, "ETag": answer["ETag"], **sums})
        del self._buffer[:num_bytes]

    def _complete(self) -> None:
        deadline = time.monotonic() + self._store.patience_s
        request = {"UploadId": self._upload, "MultipartUpload": {"Parts": self._parts}, "IfNoneMatch": "*"}
        for wait_s in waits():
            try:
                self._store.request_once("complete_multipart_upload", self._name, **request)
            except (FileExistsError, FileNotFoundError, ConnectionError, TimeoutError) as error:
                if self._is_there():
                    return
                if isinstance(error, FileNotFoundError):
                    raise SinkError(f"the upload of {self._name} is gone; something aborts uploads there") from error
                if time.monotonic() >= deadline:
                    raise unavailable(f"{self._store.uri}/{self._name}", error, self._store.patience_s) from error
                time.sleep(wait_s)
            else:
                return

    def _is_there(self) -> bool:
        """Whether the object stands: an object is whole or absent, and its name is this writer's alone."""
        try:
            size_bytes = self._store.size_bytes(self._name)
        except FileNotFoundError:
            return False
        if size_bytes != self._size_bytes:
            raise FileExistsError(f"{self._name} is there already, with {size_bytes} bytes")
        return True
