"""Storage: one winner to a name, whole files only, and listings that are the same every time."""

import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from pipeline.errors import AccessDeniedError, ConfigError, SinkError
from pipeline.storage import STAGING, FileEntry, Folder, read_uri, store_errors
from tests.privileges import without_privileges

ODD_NAMES = ["a b", "a#b", "a%2Fb", "a+b", "a*b", "a[b]", "a?b", "a\nb", "a😀b", "~a", "a'\"b", "file:a", "-a", "é"]

# Each racer spins until the same instant, then all try the same name; a line is printed for every race won.
RACER = """
import sys, time
from pathlib import Path
from pipeline.storage import Folder
folder, me, rounds = Folder(sys.argv[1]), sys.argv[2], int(sys.argv[3])
meeting = Path(sys.argv[1]).parent
(meeting / f"ready-{me}").touch()
while not (meeting / "go").exists():
    time.sleep(0.002)
began = float((meeting / "go").read_text())
for number in range(rounds):
    while time.time() < began + number * 0.04:
        pass
    if folder.create(f"won/{number}", me.encode() * 50_000):
        print(number)
"""


def python(script: str, *arguments: str) -> subprocess.Popen[str]:
    """A process of its own that runs `script`."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "sink")


@pytest.fixture
def remote() -> Iterator[str]:
    """A prefix of fsspec's in-memory store that no other test uses."""
    uri = f"memory://{uuid.uuid4().hex}/photos"
    yield uri
    fsspec.filesystem("memory").rm(uri.rpartition("/")[0], recursive=True)


def all_files(path: Path) -> list[str]:
    return sorted(str(each.relative_to(path)) for each in path.rglob("*") if each.is_file())


# Creating


def test_of_many_processes_racing_for_a_name_exactly_one_creates_it(tmp_path: Path):
    racers, rounds = ["a", "b", "c", "d", "e"], 12
    (tmp_path / "sink").mkdir()
    running = {me: python(RACER, str(tmp_path / "sink"), me, str(rounds)) for me in racers}
    while not all((tmp_path / f"ready-{me}").exists() for me in racers):
        crashed = {me: process.communicate()[0] for me, process in running.items() if process.poll()}
        assert not crashed
        time.sleep(0.01)
    (tmp_path / "go.tmp").write_text(str(time.time() + 0.05))
    (tmp_path / "go.tmp").rename(tmp_path / "go")
    printed = {me: process.communicate()[0] for me, process in running.items()}
    assert all(process.returncode == 0 for process in running.values()), printed
    winners = [(int(number), me) for me in racers for number in printed[me].split()]
    assert sorted(number for number, _ in winners) == list(range(rounds)), printed
    for number, me in winners:
        assert (tmp_path / "sink/won" / str(number)).read_bytes() == me.encode() * 50_000, (number, me)
    assert list((tmp_path / "sink" / STAGING).iterdir()) == []


def test_create_says_whether_it_created(folder: Folder):
    assert folder.create("runs/1", b"first") is True
    assert folder.create("runs/1", b"second") is False
    assert folder.read("runs/1") == b"first"


def test_a_half_written_file_is_not_visible(folder: Folder):
    with folder.writer("shards/1") as stream:
        stream.write(b"half")
        stream.flush()
        assert not Path(folder.uri_of("shards/1")).exists()
        assert folder.names("shards") == []
    assert folder.read("shards/1") == b"half"


def test_an_error_while_writing_leaves_nothing(folder: Folder, tmp_path: Path):
    def fail_in_the_middle() -> None:
        with folder.writer("shards/1") as stream:
            stream.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_in_the_middle()
    assert all_files(tmp_path) == []


def test_a_writer_that_is_killed_leaves_nothing_under_the_name(tmp_path: Path):
    script = (
        "import os, signal, sys; from pipeline.storage import Folder\n"
        "with Folder(sys.argv[1]).writer('shards/1') as stream:\n"
        "    stream.write(b'half'); stream.flush(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = python(script, str(tmp_path))
    output, _ = killed.communicate()
    assert killed.returncode == -9, output
    assert all_files(tmp_path / "shards") == []
    assert Folder(tmp_path).create("shards/1", b"whole") is True


def test_a_writer_whose_name_was_taken_meanwhile_changes_nothing(folder: Folder, tmp_path: Path):
    def come_second() -> None:
        with folder.writer("commit") as stream:
            stream.write(b"mine")
            assert folder.create("commit", b"theirs")

    with pytest.raises(FileExistsError):
        come_second()
    assert all_files(tmp_path) == ["sink/commit"]
    assert folder.read("commit") == b"theirs"


def test_a_full_disk_is_a_sink_error_and_leaves_nothing(tmp_path: Path):
    script = (
        "import resource, sys; from pipeline.errors import SinkError; from pipeline.storage import Folder\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: Folder(sys.argv[1]).create('shards/1', bytes(100_000))\n"
        "except SinkError as error: print(error)"
    )
    output, _ = python(script, str(tmp_path)).communicate()
    assert output.startswith(f"cannot write below {tmp_path}: File too large"), output
    assert all_files(tmp_path) == []


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_name_is_created_and_read_back(folder: Folder, name: str):
    assert folder.create(f"{name}/{name}", name.encode())
    assert Path(folder.uri_of(f"{name}/{name}")).exists()
    assert folder.names(name) == [name]
    assert folder.read(f"{name}/{name}") == name.encode()
    with folder.open(f"{name}/{name}") as stream:
        assert stream.read() == name.encode()


@pytest.mark.parametrize("below", ["file.txt", "file.txt/deeper"])
def test_a_place_that_is_a_file_is_a_sink_error(tmp_path: Path, below: str):
    (tmp_path / "file.txt").write_text("in the way")
    with pytest.raises(SinkError, match=r"mend that or choose another sink\.uri"):
        Folder(tmp_path / below).require_writable()
    with pytest.raises(SinkError, match=r"file\.txt"):
        Folder(tmp_path / below).create("x", b"")


def test_a_file_where_a_folder_should_be_is_a_sink_error_and_no_lost_race(folder: Folder, tmp_path: Path):
    folder.create("runs/1", b"")
    (tmp_path / "sink/commits").write_text("in the way")
    with pytest.raises(SinkError, match=f"{tmp_path}/sink/commits is a file, not a folder"):
        folder.create("commits/1", b"")


@pytest.mark.parametrize("place", ["/proc/features", "/dev/null/features"])
def test_a_place_where_nothing_can_be_is_refused_by_name(place: str):
    with pytest.raises((SinkError, AccessDeniedError), match=place):  # who is not root is refused sooner
        Folder(place).create("file", b"")


def test_a_place_below_a_file_is_found_unwritable_without_trying():
    with pytest.raises(SinkError, match="cannot write below /dev/null/features: /dev/null is not a folder"):
        Folder("/dev/null/features").require_writable()


def test_a_place_without_permission_is_access_denied(tmp_path: Path):
    (tmp_path / "sink").mkdir(mode=0o500)
    folder = Folder(tmp_path / "sink")
    with without_privileges(), pytest.raises(AccessDeniedError, match=f"no permission to write {tmp_path}"):
        folder.require_writable()


def test_asking_whether_a_place_is_writable_leaves_nothing(tmp_path: Path):
    Folder(tmp_path / "sink/deeper").require_writable()
    assert list(tmp_path.iterdir()) == []


def test_a_remote_sink_is_refused_before_anything_is_written(remote: str):
    Folder(remote)
    fsspec.filesystem("memory").pipe_file(f"{remote}/a", b"")
    for write in (Folder(remote).require_writable, lambda: Folder(remote).create("b", b"")):
        with pytest.raises(ConfigError, match="feature sets go to local disk"):
            write()
    assert Folder(remote).names("") == ["a"]


# Naming a place


def test_an_unknown_scheme_is_a_configuration_error():
    with pytest.raises(ConfigError, match=r"nope://bucket/photos: no file system .*nope"):
        Folder("nope://bucket/photos")
    with pytest.raises(ConfigError, match="no file system"):
        read_uri("nope://bucket/photos/a.jpg")


def test_a_uri_inside_a_uri_is_a_configuration_error(tmp_path: Path):
    with pytest.raises(ConfigError, match="a URI inside a URI"):
        Folder(f"zip://::{tmp_path}/photos.zip")


def test_a_relative_path_starts_at_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.jpg").write_bytes(b"a")
    monkeypatch.chdir(tmp_path)
    folder = Folder("photos")
    monkeypatch.chdir("/")
    assert folder.uri == f"{tmp_path}/photos"
    assert read_uri(folder.uri_of("a.jpg")) == b"a"


@pytest.mark.parametrize("spelling", ["{}", "{}/", "file://{}", "file://{}/", "{}/deep/..", "file://{}/deep/.."])
def test_every_spelling_of_a_folder_lists_the_same(tmp_path: Path, spelling: str):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/a.jpg").write_bytes(b"a")
    folder = Folder(spelling.format(tmp_path))
    assert folder.is_folder()
    assert [entry.name for entry in folder.files()] == ["deep/a.jpg"]
    assert read_uri(folder.uri_of("deep/a.jpg")) == b"a"


@pytest.mark.parametrize("uri", ["/", "file:///"])
def test_the_root_is_a_folder_too(uri: str):
    folder = Folder(uri)
    assert folder.uri == "/"
    assert "proc" in folder.names("")


# Listing


def test_listing_is_sorted_recursive_and_repeatable(folder: Folder):
    for name in ["b/2", "b/1", "a/z/1", "a.jpg", "a/b", "B", "10", "9"]:
        folder.create(name, name.encode())
    (Path(folder.uri) / STAGING).rmdir()
    names = [entry.name for entry in folder.files()]
    assert names == ["10", "9", "B", "a.jpg", "a/b", "a/z/1", "b/1", "b/2"]
    assert names == sorted(names)
    assert list(folder.files()) == list(Folder(folder.uri).files())


def test_listing_tells_size_and_a_version_that_changes_with_the_file(folder: Folder):
    folder.create("a", b"123")
    path = Path(folder.uri) / "a"
    (before,) = folder.files()
    os.utime(path, ns=(10**18, 10**18))
    (after,) = folder.files()
    assert (before.name, before.size_bytes) == (after.name, after.size_bytes) == ("a", 3)
    assert before.version != after.version


def test_listing_leaves_hidden_files_and_folders_out(folder: Folder):
    for name in ["shown", ".hidden", ".git/config", "deep/.hidden"]:
        folder.create(name, b"")
    assert [entry.name for entry in folder.files()] == ["shown"]


def test_listing_follows_links_to_files_and_sees_their_changes(folder: Folder, tmp_path: Path):
    target = tmp_path / "elsewhere"
    target.write_bytes(b"12345")
    folder.create("a", b"")
    (Path(folder.uri) / "link").symlink_to(target)
    before = list(folder.files())[1]
    os.utime(target, ns=(10**18, 10**18))
    after = list(folder.files())[1]
    assert (before.name, before.size_bytes) == ("link", 5)
    assert before.version != after.version
    assert read_uri(folder.uri_of("link")) == b"12345"


def test_links_that_lead_in_circles_do_not_hang_the_listing(folder: Folder):
    folder.create("deep/a", b"")
    root = Path(folder.uri)
    (root / "deep/up").symlink_to(root)
    (root / "deep/self").symlink_to(root / "deep/self")
    (root / "sideways").symlink_to(root / "deep")
    assert [entry.name for entry in folder.files()] == ["deep/a", "deep/self"]
    with pytest.raises(OSError, match="symbolic links"):
        read_uri(folder.uri_of("deep/self"))


def test_a_broken_link_is_listed_so_that_reading_it_says_why(folder: Folder):
    folder.create("a", b"")
    (Path(folder.uri) / "broken.jpg").symlink_to("nowhere")
    assert [entry.name for entry in folder.files()] == ["a", "broken.jpg"]
    with pytest.raises(FileNotFoundError):
        read_uri(folder.uri_of("broken.jpg"))


def test_pipes_and_devices_are_left_out_because_reading_them_never_ends(folder: Folder):
    folder.create("a", b"")
    os.mkfifo(Path(folder.uri) / "pipe.jpg")
    (Path(folder.uri) / "zeros.jpg").symlink_to("/dev/zero")
    assert [entry.name for entry in folder.files()] == ["a"]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_listed_name_can_be_read_back(folder: Folder, name: str):
    folder.create(f"deep/{name}.jpg", name.encode())
    (entry,) = folder.files()
    assert entry.name == f"deep/{name}.jpg"
    assert read_uri(folder.uri_of(entry.name)) == name.encode()


def test_names_that_are_not_utf8_are_spelled_out_and_can_be_read_back(tmp_path: Path):
    root = tmp_path / os.fsdecode(b"caf\xe9")
    root.mkdir()
    (root / os.fsdecode(b"\xff\xfe.jpg")).write_bytes(b"latin")
    folder = Folder(root)
    (entry,) = folder.files()
    assert entry.name == r"\xff\xfe.jpg"
    assert folder.uri == f"{tmp_path}/caf\\xe9"
    assert read_uri(folder.uri_of(entry.name)) == b"latin"


def test_a_name_that_only_looks_spelled_out_is_read_as_it_is(folder: Folder):
    folder.create(r"\xff.jpg", b"plain")
    (entry,) = folder.files()
    assert read_uri(folder.uri_of(entry.name)) == b"plain"


# Reading


def test_what_is_not_there_is_told_apart(folder: Folder):
    folder.create("file", b"")
    assert folder.names("nothing") == []
    assert not Folder(folder.uri_of("file")).is_folder()
    for name in ("nothing", "file/below"):
        with pytest.raises(FileNotFoundError):
            folder.read(name)
    with pytest.raises(FileNotFoundError):
        folder.open("nothing")


def test_open_gives_a_seekable_reader(folder: Folder):
    folder.create("a", b"0123456789")
    with folder.open("a") as stream:
        stream.seek(4)
        assert stream.read(3) == b"456"


def test_a_remote_folder_is_listed_and_read_like_a_local_one(remote: str):
    store = fsspec.filesystem("memory")
    for name in [*(f"{odd}.jpg" for odd in ODD_NAMES), "z/deep/a.jpg", ".hidden"]:
        store.pipe_file(f"{remote}/{name}", name.encode())
    folder = Folder(f"{remote}/")
    entries = list(folder.files())
    assert folder.is_folder()
    assert not folder.is_local
    assert [entry.name for entry in entries] == sorted([*(f"{odd}.jpg" for odd in ODD_NAMES), "z/deep/a.jpg"])
    assert entries == list(Folder(folder.uri).files())
    for entry in entries:
        assert read_uri(folder.uri_of(entry.name)).decode() == entry.name
        assert folder.read(entry.name).decode() == entry.name
    with folder.open("z/deep/a.jpg") as stream:
        stream.seek(2)
        assert stream.read() == b"deep/a.jpg"


def test_a_remote_file_has_another_version_when_it_was_written_again(remote: str):
    store = fsspec.filesystem("memory")
    versions = []
    for _ in range(2):
        store.pipe_file(f"{remote}/a", b"same size")
        versions += [entry.version for entry in Folder(remote).files()]
    assert len(set(versions)) == 2, versions


def test_a_remote_folder_that_is_not_there_is_no_folder(remote: str):
    fsspec.filesystem("memory").pipe_file(f"{remote}/a", b"")
    assert not Folder(f"{remote}-of-somebody-else").is_folder()


def test_an_entry_is_a_plain_value(folder: Folder):
    folder.create("a", b"12")
    (entry,) = folder.files()
    assert entry == FileEntry("a", 2, entry.version)


@pytest.fixture
def no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment in which nothing gives access to S3, and nobody outside is asked."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")


@pytest.mark.usefixtures("no_credentials")
def test_missing_credentials_are_a_permission_error():
    with pytest.raises(PermissionError, match="NoCredentialsError"):
        list(Folder("s3://a-bucket/photos").files())


def test_a_store_that_does_not_answer_is_a_connection_error():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ConnectionError, match="ClientConnectorError"):
        read_uri(f"http://127.0.0.1:{port}/a.jpg")


def test_what_is_no_stores_fault_passes_untouched():
    with pytest.raises(ZeroDivisionError), store_errors("s3://a-bucket"):
        _ = 1 / 0


def test_a_remote_folder_names_its_files_as_it_was_named():
    assert Folder("s3://a-bucket/photos/").uri_of("a.jpg") == "s3://a-bucket/photos/a.jpg"


def test_a_host_that_does_not_answer_is_a_config_error():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ConfigError, match=f"ftp://127.0.0.1:{port}/photos: cannot be reached"):
        Folder(f"ftp://127.0.0.1:{port}/photos")


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Folder("~/features").uri == str(tmp_path / "features")
