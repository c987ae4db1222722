"""Which S3 operation a request is, read from its method, path and query; buckets are addressed by path only."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import unescape
from urllib.parse import parse_qs, unquote

from tests.faults.wire import Request

# Method, the query parameter that tells, operation; the first line that fits is the one.
OF_OBJECTS = (
    ("GET", "uploadId", "ListParts"),
    ("GET", "", "GetObject"),
    ("HEAD", "", "HeadObject"),
    ("PUT", "uploadId", "UploadPart"),
    ("PUT", "", "PutObject"),
    ("POST", "uploads", "CreateMultipartUpload"),
    ("POST", "uploadId", "CompleteMultipartUpload"),
    ("DELETE", "uploadId", "AbortMultipartUpload"),
    ("DELETE", "", "DeleteObject"),
)
OF_BUCKETS = (
    ("GET", "uploads", "ListMultipartUploads"),
    ("GET", "versions", "ListObjectVersions"),
    ("GET", "list-type", "ListObjectsV2"),
    ("GET", "", "ListObjects"),
    ("HEAD", "", "HeadBucket"),
    ("PUT", "", "CreateBucket"),
    ("POST", "delete", "DeleteObjects"),
    ("DELETE", "", "DeleteBucket"),
)
SUBRESOURCES = {"acl", "tagging", "location", "versioning", "policy", "lifecycle", "retention", "legal-hold", "cors"}
COPIES = {"PutObject": "CopyObject", "UploadPart": "UploadPartCopy"}


@dataclass
class Seen:
    """A request in the proxy's log.

    `key` is decoded; it is the prefix of a listing, and the keys of a DeleteObjects, one a line. `mutation` counts
    the mutating requests from 1 and is 0 for others. `stored` has the status the store gave at each delivery, none
    if the request never reached it; `answered` is what the client was sent, 0 for no answer, None until then.
    """

    number: int
    mutation: int
    method: str
    bucket: str
    key: str
    operation: str
    conditional: bool
    size: int
    query: Mapping[str, list[str]] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    stored: list[int] = field(default_factory=list)
    answered: int | None = None
    faults: list[str] = field(default_factory=list)

    @property
    def mutating(self) -> bool:
        """Whether the request may change the store."""
        return self.mutation > 0

    def __str__(self) -> str:
        mark = f"m{self.mutation}" if self.mutating else ""
        condition = " if-none-match" if self.conditional else ""
        faults = f" [{', '.join(self.faults)}]" if self.faults else ""
        outcome = f"stored {self.stored or '-'} answered {self.answered}"
        place = f"{self.bucket}/{self.key!r}"
        return f"{self.number:4d} {mark:>5} {self.operation} {place} {self.size} B{condition}: {outcome}{faults}"


def classify(request: Request, number: int, mutation: int) -> Seen:
    """The log entry of a request that has just arrived."""
    path, query = split_target(request.target)
    bucket, _, raw_key = path.removeprefix("/").partition("/")
    operation = _operation(request, query, is_object=bool(raw_key))
    key = unquote(raw_key) or "".join(query.get("prefix", []))
    if operation == "DeleteObjects":
        key = "\n".join(unescape(found) for found in re.findall("<Key>(.*?)</Key>", request.body.decode()))
    return Seen(
        number=number,
        mutation=mutation,
        method=request.method,
        bucket=bucket,
        key=key,
        operation=operation,
        conditional=bool(request.header("If-None-Match")),
        size=len(request.body),
        query=query,
        headers={name.lower(): value for name, value in request.headers},
    )


def split_target(target: str) -> tuple[str, dict[str, list[str]]]:
    """The path as sent, and the query decoded."""
    path, _, query = target.partition("?")
    return path, parse_qs(query, keep_blank_values=True)


def _operation(request: Request, query: Mapping[str, list[str]], *, is_object: bool) -> str:
    if request.target.partition("?")[0] == "/":
        return "ListBuckets"
    if special := SUBRESOURCES & query.keys():
        return f"{request.method}?{min(special)}"
    table = OF_OBJECTS if is_object else OF_BUCKETS
    fitting = (name for method, tell, name in table if method == request.method and (not tell or tell in query))
    operation = next(fitting, f"{request.method}?")
    return COPIES.get(operation, operation) if request.header("x-amz-copy-source") else operation
