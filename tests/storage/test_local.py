"""Local disk: one winner to a name, whole files only, and listings that are the same every time."""

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.errors import AccessDeniedError, SinkError
from pipeline.storage.entry import FileEntry, UnfinishedUpload
from pipeline.storage.folder import Folder
from pipeline.storage.local import STAGING, printable, version_of
from pipeline.storage.reading import read_uri
from tests.privileges import without_privileges
from tests.storage.odd_names import ODD_NAMES

# Each racer spins until the same instant, then all try the same name; a line is printed for every race won.
RACER = """
import sys, time
from pathlib import Path
from pipeline.storage.folder import Folder
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


def all_files(path: Path) -> list[str]:
    return sorted(str(each.relative_to(path)) for each in path.rglob("*") if each.is_file())


def listed(folder: Folder) -> list[str]:
    return [entry.name for entry in folder.files()]


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


def test_what_is_derived_can_be_replaced_and_nothing_is_left_beside_it(folder: Folder, tmp_path: Path):
    folder.replace("README.md", b"first")
    folder.replace("README.md", b"second")
    assert folder.read("README.md") == b"second"
    assert all_files(tmp_path) == ["sink/README.md"]


def test_a_replacement_that_cannot_be_leaves_what_was(folder: Folder, tmp_path: Path):
    folder.create("README.md/file", b"in the way")
    with pytest.raises(SinkError, match="Is a directory"):
        folder.replace("README.md", b"second")
    assert all_files(tmp_path) == ["sink/README.md/file"]


def test_create_says_whether_it_created(folder: Folder):
    assert folder.create("runs/1", b"first") is True
    assert folder.create("runs/1", b"second") is False
    assert folder.read("runs/1") == b"first"


def test_a_half_written_file_is_not_visible(folder: Folder):
    with folder.writer("shards/1") as stream:
        stream.write(b"half")
        stream.flush()
        assert not Path(folder.uri_of("shards/1")).exists()
        assert list(folder.names("shards")) == []
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
        "import os, signal, sys; from pipeline.storage.folder import Folder\n"
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
        "import resource, sys; from pipeline.errors import SinkError; from pipeline.storage.folder import Folder\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: Folder(sys.argv[1]).create('shards/1', bytes(100_000))\n"
        "except SinkError as error: print(error)"
    )
    output, _ = python(script, str(tmp_path)).communicate()
    assert output.startswith(f"cannot write below {tmp_path}: File too large"), output
    assert all_files(tmp_path) == []


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_name_is_created_read_back_and_deleted(folder: Folder, name: str):
    place = f"{name}/{name}"
    assert folder.create(place, name.encode())
    assert Path(folder.uri_of(place)).exists()
    assert list(folder.names(name)) == [name]
    assert folder.read(place) == name.encode()
    assert folder.size_bytes(place) == len(name.encode())
    if not name.startswith("."):
        assert [folder.entry(place)] == list(folder.files())
    with folder.open(place) as stream:
        assert stream.read() == name.encode()
    folder.delete(place)
    assert list(folder.names(name)) == []


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


# Deleting


def test_deleting_what_is_gone_is_no_error(folder: Folder):
    folder.create("a", b"")
    for _ in range(2):
        folder.delete("a")
    assert list(folder.names("")) == [STAGING]


def test_deleting_without_permission_is_access_denied_and_deletes_nothing(folder: Folder):
    folder.create("shards/1", b"kept")
    shards = Path(folder.uri) / "shards"
    shards.chmod(0o555)
    with without_privileges(), pytest.raises(AccessDeniedError, match=r"no permission to write .*shards/1"):
        folder.delete("shards/1")
    shards.chmod(0o755)
    assert folder.read("shards/1") == b"kept"


def test_there_are_no_unfinished_uploads_on_a_disk(folder: Folder):
    with folder.writer("a") as stream:
        stream.write(b"half")
        assert list(folder.unfinished_uploads()) == []
    folder.abort_upload(UnfinishedUpload("a", "token", 0.0))
    assert folder.read("a") == b"half"


def test_the_time_is_that_of_files_made_now_and_asking_leaves_nothing(folder: Folder):
    folder.create("before", b"")
    now_s = folder.now_s()
    folder.create("after", b"")
    after, before = (entry.modified_s for entry in folder.files())
    assert before <= now_s <= after
    assert all_files(Path(folder.uri)) == ["after", "before"]


def test_the_time_of_a_place_that_cannot_be_written_is_not_known(folder: Folder):
    with pytest.raises(SinkError, match="No such file"):
        folder.now_s()


# Listing


def test_listing_is_sorted_recursive_and_repeatable(folder: Folder):
    for name in ["b/2", "b/1", "a/z/1", "a.jpg", "a/b", "B", "10", "9"]:
        folder.create(name, name.encode())
    (Path(folder.uri) / STAGING).rmdir()
    assert listed(folder) == ["10", "9", "B", "a.jpg", "a/b", "a/z/1", "b/1", "b/2"]
    assert listed(folder) == sorted(listed(folder))
    assert list(folder.files()) == list(Folder(folder.uri).files())


def test_listing_begins_before_all_of_it_was_looked_at(folder: Folder):
    folder.create("a/1", b"")
    folder.create("b/1", b"")
    entries = folder.files()
    assert next(entries).name == "a/1"
    folder.create("b/2", b"")
    assert [entry.name for entry in entries] == ["b/1", "b/2"]


def test_a_folder_of_many_files_is_listed_in_order_each_once(folder_in_memory: Path):
    """More names than are read from a folder, or sorted, at once."""
    count = 66_000
    for number in range(count):
        os.mknod(folder_in_memory / f"{number * 7919 % count:06d}", stat.S_IFREG | 0o600)
    assert listed(Folder(folder_in_memory)) == [f"{number:06d}" for number in range(count)]
    assert sum(1 for _ in Folder(folder_in_memory).names("")) == count


def test_a_file_that_goes_while_its_folder_is_read_is_left_out(folder: Folder):
    for name in ["a", "b", "c"]:
        folder.create(name, b"")
    entries = folder.files()
    assert next(entries).name == "a"
    folder.delete("b")
    assert [entry.name for entry in entries] == ["c"]


def test_an_entry_tells_size_time_and_a_version_that_changes_with_the_file(folder: Folder):
    folder.create("a", b"123")
    path = Path(folder.uri) / "a"
    (before,) = folder.files()
    assert before == FileEntry("a", 3, version_of(path.stat()), path.stat().st_mtime)
    os.utime(path, ns=(10**18, 10**18))
    (after,) = folder.files()
    assert (after.name, after.size_bytes, after.modified_s) == ("a", 3, 1e9)
    assert before.version != after.version
    path.write_bytes(b"1234")
    os.utime(path, ns=(10**18, 10**18))
    (longer,) = folder.files()
    assert longer.version != after.version, "the same time, another size"


def test_names_are_those_directly_in_a_folder(folder: Folder):
    for name in ["runs/1/run.json", "runs/2/run.json", "runs/.hidden", "runs/x"]:
        folder.create(name, b"")
    assert sorted(folder.names("runs")) == [".hidden", "1", "2", "x"]
    assert list(folder.names("nothing")) == []


def test_listing_leaves_hidden_files_and_folders_out(folder: Folder):
    for name in ["shown", ".hidden", ".git/config", "deep/.hidden"]:
        folder.create(name, b"")
    assert listed(folder) == ["shown"]


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
    assert read_uri(folder.uri_of("link"), after.version) == b"12345"


def test_links_that_lead_in_circles_do_not_hang_the_listing(folder: Folder):
    folder.create("deep/a", b"")
    root = Path(folder.uri)
    (root / "deep/up").symlink_to(root)
    (root / "deep/self").symlink_to(root / "deep/self")
    (root / "sideways").symlink_to(root / "deep")
    assert listed(folder) == ["deep/a", "deep/self"]
    with pytest.raises(OSError, match="symbolic links"):
        read_uri(folder.uri_of("deep/self"))


def test_a_broken_link_is_listed_so_that_reading_it_says_why(folder: Folder):
    folder.create("a", b"")
    (Path(folder.uri) / "broken.jpg").symlink_to("nowhere")
    assert listed(folder) == ["a", "broken.jpg"]
    with pytest.raises(FileNotFoundError):
        read_uri(folder.uri_of("broken.jpg"))


def test_pipes_and_devices_are_left_out_because_reading_them_never_ends(folder: Folder):
    folder.create("a", b"")
    os.mkfifo(Path(folder.uri) / "pipe.jpg")
    (Path(folder.uri) / "zeros.jpg").symlink_to("/dev/zero")
    assert listed(folder) == ["a"]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_listed_name_can_be_read_back(folder: Folder, name: str):
    folder.create(f"deep/{name}.jpg", name.encode())
    (entry,) = folder.files()
    assert entry.name == f"deep/{name}.jpg"
    assert read_uri(folder.uri_of(entry.name), entry.version) == name.encode()


def test_names_that_are_not_utf8_are_spelled_out_and_can_be_read_back(tmp_path: Path):
    root = tmp_path / os.fsdecode(b"caf\xe9")
    root.mkdir()
    (root / os.fsdecode(b"\xff\xfe.jpg")).write_bytes(b"latin")
    folder = Folder(root)
    (entry,) = folder.files()
    assert entry.name == r"\xff\xfe.jpg"
    assert folder.uri == f"{tmp_path}/caf\\xe9"
    assert read_uri(folder.uri_of(entry.name), entry.version) == b"latin"


def test_printable_leaves_utf8_alone():
    assert printable("é😀\n") == "é😀\n"
    assert printable(os.fsdecode(b"\xff")) == r"\xff"


# Reading


def test_what_is_not_there_is_told_apart(folder: Folder):
    folder.create("file", b"")
    assert not Folder(folder.uri_of("file")).is_folder()
    for name in ("nothing", "file/below"):
        with pytest.raises(FileNotFoundError):
            folder.read(name)
    for ask in (folder.open, folder.size_bytes):
        with pytest.raises(FileNotFoundError):
            ask("nothing")


def test_open_gives_a_seekable_reader(folder: Folder):
    folder.create("a", b"0123456789")
    with folder.open("a") as stream:
        stream.seek(4)
        assert stream.read(3) == b"456"
