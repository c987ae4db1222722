"""A real web server of our own on loopback, plain or with TLS, whose pages are functions that write what they like."""

import contextlib
import datetime as dt
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Page = Callable[[BaseHTTPRequestHandler], None]
LOOPBACK = ("127.0.0.1/32",)


class WebServer:
    """Serves pages for the length of a `with` block; what it was asked is in `requests`, headers and all.

    Args:
        pages: by path, the query left out.
        certificate: for TLS, of a host (see `certificate_of`).
    """

    def __init__(self, pages: dict[str, Page], certificate: Path | None = None) -> None:
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.num_connections = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
                with contextlib.suppress(OSError):  # whoever asked has hung up
                    pages.get(self.path.partition("?")[0], status(404))(self)
                self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def verify_request(self, *_: object) -> bool:
                outer.num_connections += 1
                return True

            def handle_error(self, *_: object) -> None:
                """Handshakes that failed are what some tests are about."""

        self._server = Server(("127.0.0.1", 0), Handler)
        if certificate is not None:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(certificate)
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self._server.server_address[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def body(data: bytes, **headers: str) -> Page:
    """A page as it should be; ranges are honoured."""

    def write(handler: BaseHTTPRequestHandler) -> None:
        asked = handler.headers.get("Range")
        piece, extra = data, dict(headers)
        if asked is not None:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            if int(first) >= len(data):
                return status(416)(handler)
            piece = data[int(first) : int(last) + 1 if last else None]
            extra.setdefault("Content-Range", f"bytes {first}-{int(first) + len(piece) - 1}/{len(data)}")
        extra.setdefault("Content-Length", str(len(piece)))
        status(200 if asked is None else 206, **extra)(handler)
        handler.wfile.write(piece)
        return None

    return write


def status(code: int, **headers: str) -> Page:
    """A page of a status and headers (an underscore for each hyphen)."""

    def write(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()

    return write


def raw(*pieces: bytes, endless: bytes = b"", pause_s: float = 0.0) -> Page:
    """A page of bytes as they are, the last ones for ever, each after a pause."""

    def write(handler: BaseHTTPRequestHandler) -> None:
        for piece in pieces:
            handler.wfile.write(piece)
        waiting = threading.Event()
        while endless:
            handler.wfile.write(endless)
            waiting.wait(pause_s)

    return write


def certificate_of(host: str, folder: Path) -> Path:
    """A file of a key and a certificate of a host, signed by itself, which is whom to trust too."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    written = folder / f"{host}.pem"
    written.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return written
