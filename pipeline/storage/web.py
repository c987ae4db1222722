"""A file of a web server that nobody vouches for: one GET, of few bytes, in little time, with nothing of ours in it.

It uses `http.client` on a socket of its own, because the deadline has to hold from the first byte of the handshake
on, and because nothing may come from the environment: no proxy, no cookie, no credentials.
"""

import errno
import re
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.message import Message
from email.utils import parsedate_to_datetime
from functools import cache
from http.client import HTTPConnection, HTTPException, HTTPResponse
from threading import Event, Timer
from urllib.parse import quote, urljoin

from pipeline.errors import UriError
from pipeline.storage.addresses import Resolver, SystemResolver, checked_addresses
from pipeline.storage.roots import Roots
from pipeline.storage.trouble import FileTooLargeError, RangeNotThereError, RetryLaterError, too_large
from pipeline.storage.uri import WEB_PORTS, Place, shown

MAX_REDIRECTS = 3
DEADLINE_S = 60.0
# Where the caller names no other limit.
MAX_BYTES = 2**28
_SILENCE_S = 20.0
_READ_BYTES = 2**16
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LATER = frozenset({408, 425, 429})
_GONE = frozenset({404, 410})
_DENIED = frozenset({401, 402, 403, 407, 451})


@dataclass(frozen=True)
class _Answer:
    """What came back; the body only of a 200 or 206."""

    status: int
    headers: Message
    body: bytes


class WebReader:
    """Reads from below the roots that allow it.

    Args:
        roots: what may be asked.
        resolver: who knows where hosts are.
        tls: whom to trust; None takes the machine's authorities.
        deadline_s: of one GET with its redirects, in seconds. Only the name service is not held to it.
    """

    def __init__(
        self,
        roots: Roots,
        *,
        resolver: Resolver | None = None,
        tls: ssl.SSLContext | None = None,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self._roots, self._resolver = roots, resolver or SystemResolver()
        self._tls, self._deadline_s = tls, deadline_s

    def get(self, uri: str, *, byte_range: str | None = None, max_bytes: int | None = None) -> bytes:
        """The bytes of a page, or those of a range of it that there are.

        Args:
            uri: of the page.
            byte_range: as HTTP writes it, `bytes=0-99`.
            max_bytes: how many may come; None is 256 MiB.

        Raises:
            UriError: it may not be read, or leads to where nothing may be read.
            FileNotFoundError, PermissionError, HostNotFoundError: the server, or the name service, said so.
            FileTooLargeError, RangeNotThereError: see `read_uri`.
            ConnectionError, TimeoutError: no whole answer, or one that asks for patience; trying again may help.
            OSError: an answer that is of no use.
        """
        until = time.monotonic() + self._deadline_s
        most = MAX_BYTES if max_bytes is None else max_bytes
        for _ in range(MAX_REDIRECTS + 1):
            place = self._roots.check(uri)
            answer = self._ask(place, byte_range, most=most, until=until)
            if answer.status not in _REDIRECTS:
                return _judged(answer, byte_range, shown(uri))
            uri = _target(answer, place)
        raise UriError(f"{shown(uri)}: more than {MAX_REDIRECTS} redirects")

    def _ask(self, place: Place, byte_range: str | None, *, most: int, until: float) -> _Answer:
        host, port = place.host_and_port
        shown_host = f"[{host}]" if ":" in host else host
        headers = {
            "Host": shown_host if port == WEB_PORTS[place.scheme] else f"{shown_host}:{port}",
            "User-Agent": "sam2-embed",
            "Accept-Encoding": "identity",
            "Connection": "close",
            **({} if byte_range is None else {"Range": byte_range}),
        }
        addresses = checked_addresses(host, port, networks=self._roots.networks, resolver=self._resolver)
        with self._line(place, addresses, until) as line:
            connection = HTTPConnection(host, port)
            connection.sock = line
            connection.request("GET", "/" + re.sub("[^!-~]+", lambda odd: quote(odd[0]), place.key), headers=headers)
            with connection.getresponse() as response:
                body = _body(response, most, shown(str(place))) if response.status in (200, 206) else b""
                return _Answer(response.status, response.headers, body)

    @contextmanager
    def _line(self, place: Place, addresses: list[str], until: float) -> Iterator[socket.socket]:
        """A connection to a checked address, cut when the time is over; its errors as `store_errors` has them."""
        late, host = Event(), place.host_and_port[0]
        try:
            with _connected(addresses, place.host_and_port[1], until) as plain, _cut_at(until, plain, late):
                if place.scheme == "http":
                    yield plain
                else:
                    with (self._tls or _machines_tls()).wrap_socket(plain, server_hostname=host) as line:
                        yield line
        except FileTooLargeError:
            raise
        except ssl.SSLCertVerificationError as error:
            raise OSError(errno.EPROTO, f"its certificate is not to be trusted: {error.verify_message}") from error
        except (OSError, HTTPException) as error:
            if not late.is_set():
                said = getattr(error, "strerror", None) or str(error) or type(error).__name__
                raise ConnectionError(errno.EIO, f"{host}: {said}", shown(str(place))) from error
        if late.is_set():
            raise TimeoutError(errno.ETIMEDOUT, f"{host} did not answer in {self._deadline_s:g} s")


@cache
def _machines_tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _connected(addresses: list[str], port: int, until: float) -> socket.socket:
    """A socket to the first address that answers."""
    trouble: OSError = TimeoutError(errno.ETIMEDOUT, "no time is left to connect")
    for address in addresses:
        left_s = until - time.monotonic()
        if left_s > 0:
            try:
                line = socket.create_connection((address, port), timeout=min(left_s, _SILENCE_S))
            except OSError as error:
                trouble = error
            else:
                line.settimeout(_SILENCE_S)
                return line
    raise trouble


@contextmanager
def _cut_at(until: float, line: socket.socket, late: Event) -> Iterator[None]:
    """Hangs up when the time is over, whoever is waiting for a byte then."""
    twin = line.dup()  # TLS takes the socket over, but it stays one line

    def cut() -> None:
        late.set()
        with suppress(OSError):
            twin.shutdown(socket.SHUT_RDWR)

    timer = Timer(max(0.0, until - time.monotonic()), cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        twin.close()


def _body(response: HTTPResponse, most: int, uri: str) -> bytes:
    """All of it; read in small pieces, for what a server says about the size of a chunk may be anything."""
    size_bytes, data = response.length, bytearray()
    if size_bytes is not None and size_bytes > most:
        raise too_large(uri, size_bytes, most)
    while piece := response.read1(_READ_BYTES):
        data += piece
        if len(data) > most:
            raise too_large(uri, None, most)
    if size_bytes is not None and len(data) != size_bytes:
        raise ConnectionError(errno.EIO, f"{len(data)} bytes came of {size_bytes}")
    return bytes(data)


def _target(answer: _Answer, place: Place) -> str:
    """Where a redirect leads."""
    location = answer.headers.get("Location", "").encode("latin-1", "replace").decode("utf-8", "replace").strip()
    if not location:
        raise OSError(errno.EPROTO, f"{shown(str(place))} is redirected to nowhere")
    try:
        uri = urljoin(str(place), location)
    except ValueError:
        raise UriError(f"{shown(str(place))} is redirected to {shown(location)}, which is no URI") from None
    if place.scheme == "https" and not uri.lower().startswith("https:"):
        raise UriError(f"{shown(str(place))} is redirected to {shown(uri)}, which anybody on the way may change")
    if not uri.lower().startswith(("http:", "https:")):
        raise UriError(f"{shown(str(place))} is redirected to {shown(uri)}, which is not on the web")
    return uri


def _judged(answer: _Answer, byte_range: str | None, uri: str) -> bytes:
    """The body, if that is what was asked for."""
    status = answer.status
    if status in _GONE:
        raise FileNotFoundError(errno.ENOENT, f"the server says {status}", uri)
    if status in _DENIED:
        raise PermissionError(errno.EACCES, f"the server says {status}", uri)
    if status in _LATER or status >= 500:
        later = RetryLaterError(errno.EIO, f"the server says {status}", uri)
        later.wait_s = _wait_s(answer.headers.get("Retry-After"))
        raise later
    if status == 416:
        raise RangeNotThereError(errno.ERANGE, f"there are no {byte_range}", uri)
    if answer.headers.get("Content-Encoding", "identity").strip().lower() not in ("identity", ""):
        raise OSError(errno.EPROTO, f"packed as {answer.headers['Content-Encoding']!r}, which was not asked for", uri)
    if status != (200 if byte_range is None else 206):
        raise OSError(errno.EPROTO, f"the server says {status}" + (f" to {byte_range}" if byte_range else ""), uri)
    if byte_range is not None:
        _require_range(answer, byte_range, uri)
    return answer.body


def _require_range(answer: _Answer, byte_range: str, uri: str) -> None:
    """Looks whether these are the bytes that were asked for, or the first of them."""
    said = answer.headers.get("Content-Range", "")
    found = re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", said.strip())
    first, _, last = byte_range.removeprefix("bytes=").partition("-")
    if (
        found is None
        or found[1] != first
        or (last and int(found[2]) > int(last))
        or len(answer.body) != int(found[2]) - int(found[1]) + 1
    ):
        raise OSError(errno.EPROTO, f"asked for {byte_range}, got {len(answer.body)} bytes as {said[:80]!r}", uri)


def _wait_s(retry_after: str | None) -> float:
    """Seconds that a server asks to be left alone for: a number, or a time."""
    said = (retry_after or "").strip()
    if re.fullmatch(r"\d{1,9}", said):
        return float(said)
    try:
        return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):  # some years are beyond a C int
        return 0.0
