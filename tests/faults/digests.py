"""What S3 does and moto does not: refusing an upload whose bytes are not those that its digest headers promise."""

import base64
import hashlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from tests.faults.faults import Fault, Forward, error_response
from tests.faults.wire import Request, Response

# The algorithms of the standard library; CRC32C and CRC64NVME are not among them and pass unlooked at.
DIGESTS: dict[str, tuple[str, Callable[[bytes], str]]] = {
    "Content-MD5": ("BadDigest", lambda body: _base64(hashlib.md5(body, usedforsecurity=False).digest())),
    "x-amz-checksum-crc32": ("BadDigest", lambda body: _base64(zlib.crc32(body).to_bytes(4, "big"))),
    "x-amz-checksum-sha1": ("BadDigest", lambda body: _base64(hashlib.sha1(body, usedforsecurity=False).digest())),
    "x-amz-checksum-sha256": ("BadDigest", lambda body: _base64(hashlib.sha256(body).digest())),
    "x-amz-content-sha256": ("XAmzContentSHA256Mismatch", lambda body: hashlib.sha256(body).hexdigest()),
}


@dataclass
class CheckDigests(Fault):
    """Answers 400 to a body that is not what its headers say; installed after a FlipBit, it sees the flipped body."""

    async def act(self, request: Request, forward: Forward) -> Response:
        if "aws-chunked" not in request.header("Content-Encoding"):
            for name, (code, digest) in DIGESTS.items():
                promised = request.header(name)
                is_digest = not promised.startswith(("UNSIGNED", "STREAMING"))
                if promised and is_digest and promised != digest(request.body):
                    return error_response(400, code)
        return await forward(request)


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
