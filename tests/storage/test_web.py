"""Reading from the web: whom it asks, what it takes, and when it stops waiting."""

import socket
import ssl
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from pipeline.errors import UriError
from pipeline.storage.roots import Roots
from pipeline.storage.trouble import FileTooLargeError, RangeNotThereError, RetryLaterError
from pipeline.storage.web import WebReader
from tests.web_server import LOOPBACK, Page, WebServer, body, certificate_of, raw, status

HOST = "images.example"
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


class Book:
    """A name service of our own: hosts' addresses, one answer after another."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers, self.asked = answers, list[str]()

    def addresses(self, host: str, port: int) -> list[str]:  # noqa: ARG002  what a resolver is asked
        """The next answer, the last one for ever."""
        self.asked.append(host)
        return self._answers[min(len(self.asked), len(self._answers)) - 1]


@pytest.fixture
def serve() -> Iterator[Callable[..., WebServer]]:
    """Starts servers of pages, and ends them."""
    running: list[WebServer] = []

    def start(pages: dict[str, Page], certificate: Path | None = None) -> WebServer:
        running.append(WebServer(pages, certificate).__enter__())
        return running[-1]

    yield start
    for server in running:
        server.__exit__()


def reader(server: WebServer, **changes: object) -> WebReader:
    """A reader that finds a host at a server on loopback, which it may ask."""
    roots = Roots((f"http://{HOST}:{server.port}", f"https://{HOST}:{server.port}"), LOOPBACK)
    return WebReader(roots, **{"resolver": Book(["127.0.0.1"]), "deadline_s": 20.0, **changes})


def uri(server: WebServer, path: str, scheme: str = "http") -> str:
    return f"{scheme}://{HOST}:{server.port}{path}"


# What is asked


def test_a_page_is_asked_for_with_nothing_of_ours(serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / ".netrc").write_text(f"machine {HOST} login user password hunter2\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    server = serve({"/a/b%20c.jpg": body(b"123", Set_Cookie="a=b")})
    for _ in range(2):
        assert reader(server).get(uri(server, "/a/b%20c.jpg?d=/e&f#g")) == b"123"
    assert [path for path, _ in server.requests] == ["/a/b%20c.jpg?d=/e&f"] * 2
    for _, headers in server.requests:
        assert headers == {
            "host": f"{HOST}:{server.port}",
            "user-agent": "sam2-embed",
            "accept-encoding": "identity",
            "connection": "close",
        }


def test_what_no_request_may_hold_is_encoded(serve):
    server = serve({"/a%20%C3%A9%2e.jpg": body(b"123")})
    assert reader(server).get(uri(server, "/a é%2e.jpg")) == b"123"


def test_a_host_whose_first_address_is_dead_is_asked_at_the_next(serve):
    server = serve({"/a": body(b"123")})
    roots = Roots((f"http://{HOST}:{server.port}",), ("127.0.0.0/8",))
    assert WebReader(roots, resolver=Book(["127.0.0.77", "127.0.0.1"])).get(uri(server, "/a")) == b"123"


def test_the_certificate_is_the_hosts_and_the_address_the_checked_one(serve, tmp_path: Path):
    certificate = certificate_of(HOST, tmp_path)
    server = serve({"/a": body(b"123")}, certificate)
    tls = ssl.create_default_context(cafile=str(certificate))
    assert reader(server, tls=tls).get(uri(server, "/a", "https")) == b"123"
    with pytest.raises(OSError, match="not to be trusted"):
        reader(server).get(uri(server, "/a", "https"))
    other = Roots((f"https://other.example:{server.port}",), LOOPBACK)
    with pytest.raises(OSError, match=r"not to be trusted.*other\.example"):
        WebReader(other, resolver=Book(["127.0.0.1"]), tls=tls).get(f"https://other.example:{server.port}/a")


# Whom it asks


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://[fd00:ec2::254]/",
        "http://127.0.0.1/api/jobs/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://127.1/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::1]/",
        "http://localhost/",
    ],
)
def test_a_list_cannot_make_us_ask_this_machine_or_its_network(target: str):
    with pytest.raises(UriError):
        WebReader(Roots(("http://", "https://"))).get(target)


def test_ports_are_the_usual_ones_unless_a_root_names_another():
    for target in ("http://127.0.0.1:8265/api/jobs/", "http://images.example:22/", "https://images.example:80/"):
        with pytest.raises(UriError, match="below no root"):
            WebReader(Roots(("http://", "https://"), LOOPBACK), resolver=Book()).get(target)


def test_a_root_alone_opens_no_private_network(serve):
    server = serve({"/a": body(b"123")})
    for root, book in ((f"http://127.0.0.1:{server.port}", Book()), (f"http://{HOST}:{server.port}", None)):
        with pytest.raises(UriError, match="no public address"):
            WebReader(Roots((root,)), resolver=book or Book(["127.0.0.1"])).get(f"{root}/a")
    assert server.num_connections == 0


def test_a_name_is_asked_for_once_and_a_second_answer_is_judged_anew(serve):
    server = serve({"/a": body(b"123")})
    rebinding = Book(["127.0.0.1"], ["127.0.0.2"])
    asking = reader(server, resolver=rebinding)
    assert asking.get(uri(server, "/a")) == b"123"
    assert rebinding.asked == [HOST], "what was checked is what was connected to"
    with pytest.raises(UriError, match=r"127\.0\.0\.2, which is no public address"):
        asking.get(uri(server, "/a"))
    assert server.num_connections == 1


def test_a_few_redirects_are_followed(serve):
    pages = {f"/{n}": status(code, Location=f"{n + 1}") for n, code in enumerate((301, 302, 303))}
    server = serve({**pages, "/3": body(b"0123456789")})
    assert reader(server).get(uri(server, "/0")) == b"0123456789"
    assert reader(server).get(uri(server, "/0"), byte_range="bytes=2-3") == b"23"
    assert reader(server).get(uri(server, "/1")) == b"0123456789"


def test_many_are_not(serve):
    server = serve({f"/{n}": status(307, Location=f"/{n + 1}") for n in range(20)})
    with pytest.raises(UriError, match="more than 3 redirects"):
        reader(server).get(uri(server, "/0"))
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/",
        "//169.254.169.254/latest/",
        "http://other.example/",
        "http://images.example/at/another/port",
        "file:///etc/passwd",
        "s3://bucket/key",
        "/a\\..\\b",
        "http://user:pass@images.example/",
        "data:,a",
        "http://[foo",
        "//[foo]:bar/",
    ],
)
def test_a_redirect_leads_only_where_a_list_may(location: str, serve):
    server = serve({"/a": status(302, Location=location)})
    with pytest.raises(UriError):
        reader(server).get(uri(server, "/a"))
    assert len(server.requests) == 1


def test_a_redirect_to_a_private_address_is_judged_by_the_address(serve):
    server = serve({"/a": status(302, Location="http://169.254.169.254/")})
    roots = Roots((f"http://{HOST}:{server.port}", "http://"), LOOPBACK)
    with pytest.raises(UriError, match=r"169\.254\.169\.254, which is no public address"):
        WebReader(roots, resolver=Book(["127.0.0.1"])).get(uri(server, "/a"))


def test_a_redirect_gives_up_no_encryption(serve, tmp_path: Path):
    certificate = certificate_of(HOST, tmp_path)
    plain = serve({"/a": body(b"123")})
    server = serve({"/a": status(302, Location=uri(plain, "/a"))}, certificate)
    roots = Roots((f"https://{HOST}:{server.port}", f"http://{HOST}:{plain.port}"), LOOPBACK)
    tls = ssl.create_default_context(cafile=str(certificate))
    with pytest.raises(UriError, match="anybody on the way may change"):
        WebReader(roots, resolver=Book(["127.0.0.1"]), tls=tls).get(uri(server, "/a", "https"))
    assert plain.num_connections == 0


# What comes back


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        *((code, FileNotFoundError) for code in (404, 410)),
        *((code, PermissionError) for code in (401, 403, 451)),
        *((code, RetryLaterError) for code in (408, 429, 500, 502, 503)),
        *((code, OSError) for code in (204, 206, 304, 400, 418)),
    ],
)
def test_a_status_is_told_in_the_operating_systems_words(code: int, kind: type[OSError], serve):
    server = serve({"/a": status(code, Content_Length="0")})
    with pytest.raises(kind, match=str(code)) as caught:
        reader(server).get(uri(server, "/a?signature=hunter2"))
    assert isinstance(caught.value, ConnectionError) == (kind is RetryLaterError)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "least_s", "most_s"),
    [("7", 7, 7), (formatdate(4_000_000_000), 1e6, 4e9), (formatdate(0), 0, 0), ("soon", 0, 0), ("-1", 0, 0)]
    + [(f"Fri, 31 Dec {year} 23:59:59 GMT", 0, 0) for year in (10_000, 99_999_999_999, 10**30)],
)
def test_a_server_says_how_long_it_wants_to_be_left_alone(said: str, least_s: float, most_s: float, serve):
    server = serve({"/a": status(503, Retry_After=said)})
    with pytest.raises(RetryLaterError) as caught:
        reader(server).get(uri(server, "/a"))
    assert least_s <= caught.value.wait_s <= most_s


def test_ranges_come_as_they_were_asked_for(serve):
    server = serve({"/a": body(b"0123456789")})
    assert reader(server).get(uri(server, "/a"), byte_range="bytes=3-5") == b"345"
    assert reader(server).get(uri(server, "/a"), byte_range="bytes=8-") == b"89"
    assert reader(server).get(uri(server, "/a"), byte_range="bytes=8-20") == b"89", "those that there are"
    with pytest.raises(RangeNotThereError):
        reader(server).get(uri(server, "/a"), byte_range="bytes=10-20")


@pytest.mark.parametrize(
    "page",
    [
        raw(OK + b"Content-Length: 3\r\n\r\n345"),
        body(b"0123456789", Content_Range="bytes 2-4/10"),
        body(b"0123456789", Content_Range="bytes 3-9/10"),
        body(b"0123456789", Content_Range="bytes 3-4/10"),
        body(b"0123456789", Content_Range="bytes=3-5"),
        raw(b"HTTP/1.1 206 Partial\r\nContent-Length: 3\r\n\r\n345"),
    ],
    ids=["whole", "shifted", "longer", "shorter", "garbled", "unsaid"],
)
def test_another_range_is_no_range(page: Page, serve):
    server = serve({"/a": page})
    with pytest.raises(OSError, match="bytes=3-5"):
        reader(server).get(uri(server, "/a"), byte_range="bytes=3-5")


def test_packed_bodies_are_refused(serve):
    server = serve({"/a": body(b"123", Content_Encoding="gzip"), "/b": body(b"123", Content_Encoding="identity")})
    with pytest.raises(OSError, match="packed as 'gzip'"):
        reader(server).get(uri(server, "/a"))
    assert reader(server).get(uri(server, "/b")) == b"123"


@pytest.mark.parametrize(
    "page",
    [
        raw(OK + b"Content-Length: 10\r\n\r\n01234"),
        raw(CHUNKED + b"5\r\n01234\r\n"),
        raw(CHUNKED + b"what\r\n01234\r\n"),
        raw(b"not HTTP at all\r\n\r\n"),
        raw(OK + b"a: b\r\n" * 200 + b"\r\n"),
        raw(OK + b"a: " + b"b" * 70_000 + b"\r\n\r\n"),
        raw(b""),
    ],
    ids=["short", "short chunk", "odd chunk", "no HTTP", "many headers", "long header", "nothing"],
)
def test_an_answer_that_is_not_whole_is_trouble(page: Page, serve):
    server = serve({"/a": page})
    with pytest.raises(ConnectionError, match=HOST):
        reader(server).get(uri(server, "/a"))


@pytest.mark.parametrize("page", [raw(OK + b"\r\n0123456789"), raw(CHUNKED + b"3\r\n012\r\n7\r\n3456789\r\n0\r\n\r\n")])
def test_a_body_may_come_without_its_length(page: Page, serve):
    server = serve({"/a": page})
    assert reader(server).get(uri(server, "/a"), max_bytes=10) == b"0123456789"
    with pytest.raises(FileTooLargeError, match="it has more, 9 are allowed"):
        reader(server).get(uri(server, "/a"), max_bytes=9)


# When it stops


def test_a_large_body_is_not_begun(serve):
    server = serve({"/a": raw(OK + b"Content-Length: 10000000000\r\n\r\n", endless=b"x" * 65_536)})
    with pytest.raises(FileTooLargeError, match="it has 10000000000 bytes, 268435456 are allowed"):
        reader(server).get(uri(server, "/a"))


@pytest.mark.parametrize(
    "page",
    [
        raw(CHUNKED, endless=b"10000\r\n" + b"x" * 65_536 + b"\r\n"),
        raw(OK + b"\r\n", endless=b"x" * 65_536),
        raw(CHUNKED + b"-1\r\n", endless=b"x" * 65_536),
        raw(CHUNKED + b"ffffffffffff\r\n", endless=b"x" * 65_536),
        raw(OK + b"Content-Length: -1\r\n\r\n", endless=b"x" * 65_536),
    ],
    ids=["chunks", "no length", "a chunk of -1", "a chunk of 256 TB", "a length of -1"],
)
def test_a_body_without_end_is_left_in_the_middle(page: Page, serve):
    server = serve({"/a": page})
    with pytest.raises(FileTooLargeError, match="more"):
        reader(server).get(uri(server, "/a"), max_bytes=10**6)


SLOW = {"endless": b"x", "pause_s": 0.02}


@pytest.mark.parametrize(
    "page",
    [
        raw(**SLOW),
        raw(OK, **SLOW),
        raw(OK + b"Content-Length: 9999\r\n\r\n", **SLOW),
        raw(OK + b"\r\n", **SLOW),
        raw(CHUNKED, endless=b"1\r\nx\r\n", pause_s=0.02),
        raw(CHUNKED + b"0\r\n", endless=b"a: b\r\n", pause_s=0.02),
        raw(endless=b"HTTP/1.1 100 Continue\r\n\r\n", pause_s=0.02),
    ],
    ids=["status", "headers", "body", "body without length", "chunks", "trailers", "100"],
)
def test_a_server_that_drips_has_its_time(page: Page, serve):
    server = serve({"/a": page})
    with pytest.raises(TimeoutError, match=r"did not answer in 0\.3 s"):
        reader(server, deadline_s=0.3).get(uri(server, "/a"))


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_server_that_says_nothing_has_its_time_too(scheme: str):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        root = f"{scheme}://{HOST}:{silent.getsockname()[1]}"
        asking = WebReader(Roots((root,), LOOPBACK), resolver=Book(["127.0.0.1"]), deadline_s=0.3)
        with pytest.raises(TimeoutError):
            asking.get(f"{root}/a")


def test_a_server_that_is_not_there_is_a_connection_error():
    with socket.create_server(("127.0.0.1", 0)) as gone:
        root = f"http://{HOST}:{gone.getsockname()[1]}"
    with pytest.raises(ConnectionError, match="refused"):
        WebReader(Roots((root,), LOOPBACK), resolver=Book(["127.0.0.1"])).get(f"{root}/a")
