"""HTTP/1.1 as the fault proxy needs it: whole messages in memory, and a say in how the sending of one ends.

Own code over asyncio streams, since no server library lets a test break a connection half-way through an answer.
"""

import asyncio
import socket
import struct
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Literal, Self

READ_AHEAD = 1 << 20  # of one header block, and before the other side has to wait
# Headers that speak of one connection and are not passed on.
HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "expect", "proxy-connection"})

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Message:
    """What requests and responses have in common: headers in their order and a whole body."""

    headers: Headers
    body: bytes

    def header(self, name: str) -> str:
        """The value of the first header of that name, in any case; empty if there is none."""
        return next((value for other, value in self.headers if other.lower() == name.lower()), "")

    def without(self, name: str) -> Self:
        """The same message with no header of that name."""
        return replace(self, headers=tuple(pair for pair in self.headers if pair[0].lower() != name.lower()))

    def with_body(self, body: bytes) -> Self:
        """The same message with another body; its sender writes the length that fits."""
        return replace(self.without("Content-Length"), body=body)


@dataclass(frozen=True)
class Request(Message):
    """A request as it was sent; `target` is the path and query with every escape as it came."""

    method: str
    target: str
    peer_port: int = 0

    @property
    def is_mutating(self) -> bool:
        """Whether the request may change the store."""
        return self.method in {"PUT", "POST", "DELETE"}


@dataclass(frozen=True)
class Break:
    """Where the sending of a response stops, and how: after nothing at all, or the head and a share of the body."""

    ending: Literal["close", "reset"]
    share: float | None = None
    pause_s: float = 0


@dataclass(frozen=True)
class Response(Message):
    """An answer, and where its sending breaks off, if it does."""

    status: int
    breaks: Break | None = None


def hang_up(ending: Literal["close", "reset"]) -> Response:
    """No answer at all: the connection just ends."""
    return Response((), b"", 0, Break(ending))


async def read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request | None:
    """The next request of a connection; None when the client has closed it."""
    try:
        first, headers = await _read_head(reader)
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    method, target, version = first.split(" ")
    head = Request(headers, b"", method, target, writer.get_extra_info("peername")[1])
    if head.header("Expect").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    if version == "HTTP/1.0" and not head.header("Connection"):
        head = replace(head, headers=(*headers, ("Connection", "close")))
    return replace(head, body=await _read_body(reader, head))


async def send_response(writer: asyncio.StreamWriter, response: Response, request: Request) -> bool:
    """Sends an answer, or the part of it before its break; says whether the connection is still of use."""
    breaks = response.breaks
    head, body = _response_head(response, request.method), b"" if request.method == "HEAD" else response.body
    if breaks is None:
        writer.write(head + body if len(body) < READ_AHEAD else head)
        if len(body) >= READ_AHEAD:
            writer.write(body)
        await writer.drain()
        return request.header("Connection").lower() != "close"
    if breaks.share is not None:
        writer.write(head + body[: int(len(body) * breaks.share)])
        await writer.drain()
    await asyncio.sleep(breaks.pause_s)
    if breaks.ending == "reset":
        await _reset(writer)
    return False


async def exchange(address: tuple[str, int], request: Request) -> Response:
    """Sends a request to a server, on a connection of its own, and gives the whole answer."""
    reader, writer = await asyncio.open_connection(*address, limit=READ_AHEAD)
    try:
        lines = [f"{name}: {value}" for name, value in _passed_on(request)]
        if request.body or request.method in {"PUT", "POST"}:
            lines.append(f"Content-Length: {len(request.body)}")
        head = "\r\n".join([f"{request.method} {request.target} HTTP/1.1", *lines, "Connection: close", "", ""])
        writer.write(head.encode("latin-1"))
        writer.write(request.body)
        await writer.drain()
        return await _read_response(reader, request.method)
    finally:
        writer.close()


async def _read_response(reader: asyncio.StreamReader, method: str) -> Response:
    status = 100
    while status < 200:  # interim answers
        first, headers = await _read_head(reader)
        status = int(first.split(" ")[1])
    head = Response(headers, b"", status)
    if method == "HEAD" or status in {204, 304}:
        return head
    if head.header("Transfer-Encoding") or head.header("Content-Length"):
        return replace(head, body=await _read_body(reader, head))
    return replace(head, body=await reader.read())


async def _read_head(reader: asyncio.StreamReader) -> tuple[str, Headers]:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
    pairs = (line.partition(":") for line in lines)
    return first, tuple((name, value.strip()) for name, _, value in pairs)


async def _read_body(reader: asyncio.StreamReader, head: Message) -> bytes:
    if "chunked" not in head.header("Transfer-Encoding").lower():
        return await reader.readexactly(int(head.header("Content-Length") or 0))
    chunks = []
    while size := int((await reader.readline()).partition(b";")[0], 16):
        chunks.append(await reader.readexactly(size))
        await reader.readline()
    while (await reader.readline()).strip():  # trailers, which S3 clients send inside the body instead
        pass
    return b"".join(chunks)


def _passed_on(message: Message) -> list[tuple[str, str]]:
    own = HOP_BY_HOP | {"content-length"}
    return [(name, value) for name, value in message.headers if name.lower() not in own]


def _response_head(response: Response, method: str) -> bytes:
    phrase = HTTPStatus(response.status).phrase if response.status in set(HTTPStatus) else ""
    lines = [f"HTTP/1.1 {response.status} {phrase}", *(f"{name}: {value}" for name, value in _passed_on(response))]
    length = response.header("Content-Length") if method == "HEAD" else str(len(response.body))
    if length and response.status not in {204, 304}:
        lines.append(f"Content-Length: {length}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


async def _reset(writer: asyncio.StreamWriter) -> None:
    """Ends a connection with a TCP reset instead of an orderly close."""
    await asyncio.sleep(0.02)  # what was written reaches the client first
    linger_none = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_none)
    writer.transport.abort()
