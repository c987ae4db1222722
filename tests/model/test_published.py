"""Published checkpoints, fetched from a server on this machine."""

import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from pipeline.errors import CheckpointError
from pipeline.model.published import PUBLISHED, PublishedFile, fetch_published, published_file, refuse_mistaken
from pipeline.storage.cache import cache_folder

BODY = bytes(range(256)) * 9000
ENTRY = PublishedFile("092824", "sam2.1_hiera_tiny.pt", len(BODY), hashlib.sha256(BODY).hexdigest())
NAME = "sam2.1_hiera_tiny"


class Handler(BaseHTTPRequestHandler):
    """Serves one body under several faults, chosen by the first part of the path."""

    requests: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        """Answer with the body, or with what the fault makes of it."""
        Handler.requests.append(self.path)
        fault, _, rest = self.path.removeprefix("/").partition("/")
        if rest != "092824/sam2.1_hiera_tiny.pt" or fault == "absent":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        body = {"truncated": BODY[: len(BODY) // 2], "changed": BODY[:-1] + b"?"}.get(fault, BODY)
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is the base class's
        """Stay silent."""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("SAM2_EMBED_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    Handler.requests.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def left_in_cache() -> list[str]:
    return sorted(path.name for path in cache_folder().iterdir())


def test_a_file_is_fetched_once_checked_and_named_by_its_hash(server: str):
    path = fetch_published(NAME, base_url=f"{server}/good", entry=ENTRY)
    assert path.read_bytes() == BODY
    assert fetch_published(NAME, base_url=f"{server}/good/", entry=ENTRY) == path
    assert Handler.requests == ["/good/092824/sam2.1_hiera_tiny.pt"]
    assert left_in_cache() == [f"{ENTRY.sha256}.pt"]


def test_a_damaged_file_in_the_cache_is_fetched_again(server: str):
    cache_folder().mkdir()
    (cache_folder() / f"{ENTRY.sha256}.pt").write_bytes(BODY[:-1] + b"?")
    assert fetch_published(NAME, base_url=f"{server}/good", entry=ENTRY).read_bytes() == BODY


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("truncated", f"is not the published file: {len(BODY) // 2} bytes .* must have {len(BODY)} bytes"),
        ("changed", f"is not the published file: {len(BODY)} bytes with sha256 .* must have .*{ENTRY.sha256}"),
        ("absent", "cannot fetch http://.*Not Found; fetch it by other means and give its path"),
    ],
)
def test_a_fault_is_refused_and_leaves_nothing_in_the_cache(server: str, fault: str, message: str):
    with pytest.raises(CheckpointError, match=message):
        fetch_published(NAME, base_url=f"{server}/{fault}", entry=ENTRY)
    assert left_in_cache() == []


def test_a_server_that_does_not_answer_is_given_up_in_time(server: str):
    assert server
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(CheckpointError, match=r"cannot fetch .*(no answer within 0\.3 s|timed out)"):
            fetch_published(NAME, base_url=f"http://127.0.0.1:{silent.getsockname()[1]}", entry=ENTRY, timeout_s=0.3)
    assert time.monotonic() - began < 3


def test_a_server_that_is_not_there_is_refused(server: str):
    assert server
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(CheckpointError, match=r"cannot fetch .*refused"):
        fetch_published(NAME, base_url=f"http://127.0.0.1:{port}", entry=ENTRY)


def test_only_http_is_fetched(server: str, tmp_path: Path):
    assert server
    with pytest.raises(CheckpointError, match="file is not http or https"):
        fetch_published(NAME, base_url=f"file://{tmp_path}", entry=ENTRY)


def test_a_model_without_a_published_checkpoint_is_refused_with_those_that_have_one():
    with pytest.raises(
        CheckpointError, match=r"no published checkpoint of 'hiera_debug', only of sam2\.1_hiera_tiny, "
    ):
        fetch_published("hiera_debug")


def test_the_table_holds_the_eight_published_files():
    assert len(PUBLISHED) == len({entry.sha256 for entry in PUBLISHED.values()}) == 8
    for name, entry in PUBLISHED.items():
        assert entry.file == f"{name}.pt"
        assert entry.folder == ("092824" if "2.1" in name else "072824")
        assert len(bytes.fromhex(entry.sha256)) == 32


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("sam2.1_hiera_b+", "sam2.1_hiera_base_plus.pt"),
        ("sam2_hiera_t", "sam2_hiera_tiny.pt"),
        ("sam2_hiera_large", "sam2_hiera_large.pt"),
        ("hiera_t", None),
        ("hiera_debug", None),
    ],
)
def test_the_short_names_of_published_configurations_are_understood(name: str, file: str | None):
    entry = published_file(name)
    assert (entry and entry.file) == file


TINY, OLD_TINY = PUBLISHED["sam2.1_hiera_tiny"], PUBLISHED["sam2_hiera_tiny"]


@pytest.mark.parametrize("file", ["sam2.1_hiera_tiny.pt", "sam2.1_hiera_t.pt"])
def test_a_file_of_a_published_name_and_size_must_have_the_published_bytes(file: str):
    changed = PublishedFile("", file, TINY.size_bytes, TINY.sha256[:-1] + "0")
    with pytest.raises(CheckpointError, match=f"sha256 {changed.sha256} instead of {TINY.sha256}: it is damaged"):
        refuse_mistaken(changed, "sam2.1_hiera_tiny")
    refuse_mistaken(TINY, "sam2.1_hiera_tiny")


@pytest.mark.parametrize("file", ["sam2.1_hiera_tiny.pt", "mine.pt"])
def test_another_published_variant_is_refused_whatever_it_is_called(file: str):
    other = PublishedFile("", file, OLD_TINY.size_bytes, OLD_TINY.sha256)
    with pytest.raises(CheckpointError, match=r"is the published checkpoint of sam2_hiera_tiny, but the model is"):
        refuse_mistaken(other, "sam2.1_hiera_tiny")
    refuse_mistaken(PublishedFile("", "mine.pt", other.size_bytes, other.sha256), "sam2_hiera_tiny")
    refuse_mistaken(PublishedFile("", "mine.pt", other.size_bytes, other.sha256), "a_model_of_ours")


def test_a_body_longer_than_published_is_not_read_to_its_end(server: str):
    short = PublishedFile("092824", "sam2.1_hiera_tiny.pt", 10, "0" * 64)
    with pytest.raises(CheckpointError, match=f"is not the published file: {1 << 20} bytes"):
        fetch_published(NAME, base_url=f"{server}/good", entry=short)
