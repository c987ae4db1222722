"""The process that reads lists: whatever a file is or does, it gives sound rows, or says what is wrong with it."""

import gzip
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.errors import InputListError
from pipeline.sources.list_formats import suffix_of
from pipeline.sources.list_process import ListFile, ListProcess
from tests.sources import hostile_lists as hostile

ALL = 10**12


class Reader:
    """Reads one list after another, with a new process only when the last one was lost."""

    def __init__(self) -> None:
        self._process: ListProcess | None = None

    def __call__(self, path: Path, columns: tuple[str, ...] | None = None, max_rows: int = ALL) -> list[dict]:
        """All rows; by the same process as the last list, unless that was lost or was told of other columns."""
        if self._process is None or columns is not None:
            self.close()
            self._process = ListProcess(columns, "/lists")
        file = list_file(path)
        try:
            schema = self._process.schema(file)
            rows = [row for batch in self._process.batches(file, schema, max_rows) for row in batch.to_pylist()]
        except InputListError:
            self.peak_mib = peak_mib(self._process.pid)
            if self.peak_mib is None:
                self.close()
            raise
        if columns is not None:
            self.close()
        return rows

    def close(self) -> None:
        if self._process is not None:
            self._process.close()
        self._process = None


def list_file(path: Path, read: Callable[[int, int], bytes] | None = None) -> ListFile:
    def from_disk(start: int, end: int) -> bytes:
        with path.open("rb") as stream:
            stream.seek(start)
            return stream.read(end - start)

    suffix = suffix_of(path.name)
    assert suffix is not None
    return ListFile(str(path), suffix, path.stat().st_size, read or from_disk)


def peak_mib(pid: int) -> float | None:
    """The most memory that a process has had; None if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except FileNotFoundError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), None)


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    made = Reader()
    yield made
    made.close()


def test_rows_of_every_format_are_the_same(reader: Reader, tmp_path: Path):
    hostile.parquet(tmp_path / "a.parquet", {"uri": ["x.jpg", "s3://b/y z.jpg"], "stars": ["1", None]})
    text = b"uri,stars\nx.jpg,1\ns3://b/y z.jpg,\n"
    (tmp_path / "a.csv").write_bytes(text)
    (tmp_path / "a.CSV.gz").write_bytes(gzip.compress(text))
    (tmp_path / "a.csv.zst").write_bytes(pa.compress(text, "zstd", asbytes=True))
    rows = [
        {"image_id": "x.jpg", "uri": "/lists/x.jpg", "size_bytes": 0, "version": "", "stars": "1"},
        {"image_id": "s3://b/y z.jpg", "uri": "s3://b/y z.jpg", "size_bytes": 0, "version": "", "stars": None},
    ]
    for name in ("a.parquet", "a.csv", "a.CSV.gz", "a.csv.zst"):
        assert reader(tmp_path / name) == rows, name


def test_the_process_has_no_credentials_and_no_file_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    path = hostile.parquet(tmp_path / "a.parquet", {"uri": ["a"]})
    process = ListProcess(None, "/lists")
    process.schema(list_file(path))
    assert b"hidden" not in Path(f"/proc/{process.pid}/environ").read_bytes()
    opened = [str(each.readlink()) for each in Path(f"/proc/{process.pid}/fd").iterdir()]
    assert str(path) not in opened
    process.close()
    assert peak_mib(process.pid) is None


# Files made to do harm


@pytest.mark.parametrize("name", ["ray.data.arrow_tensor", "ray.data.arrow_tensor_v2", "arrow.py_extension_type"])
def test_an_extension_type_is_refused_and_nothing_in_it_runs(reader: Reader, tmp_path: Path, name: str):
    path = hostile.with_extension(tmp_path / "a.parquet", name, tmp_path / "marker")
    with pytest.raises(InputListError, match=r"a\.parquet: column 'tensor' is of a kind .* leave 'tensor' out"):
        reader(path)
    assert [row["uri"] for row in reader(path, ())] == ["/lists/a.jpg"], "left out, it does no harm"
    assert not (tmp_path / "marker").exists()


def test_a_truncated_file_is_refused_wherever_it_ends(reader: Reader, tmp_path: Path):
    whole = hostile.parquet(tmp_path / "a.parquet", {"uri": [f"{n}.jpg" for n in range(500)]}).read_bytes()
    for kept in (0, 1, 4, 11, len(whole) // 2, len(whole) - 9, len(whole) - 1):
        (tmp_path / "cut.parquet").write_bytes(whole[:kept])
        with pytest.raises(InputListError, match=r"cut\.parquet"):
            reader(tmp_path / "cut.parquet")


def test_flipped_bytes_give_a_reason_or_sound_rows_and_never_anything_else(reader: Reader, tmp_path: Path):
    table = {"uri": [f"{n}.jpg" for n in range(500)], "label": list(range(500))}
    whole = hostile.parquet(tmp_path / "a.parquet", table, write_page_checksum=True).read_bytes()
    chance, refused = random.Random(5), 0
    footer = int.from_bytes(whole[-8:-4], "little") + 8
    for _ in range(150):
        data = bytearray(whole)
        data[len(data) - 1 - chance.randrange(footer)] ^= 1 << chance.randrange(8)
        (tmp_path / "flipped.parquet").write_bytes(data)
        try:
            rows = reader(tmp_path / "flipped.parquet")
        except InputListError as error:
            refused += "flipped.parquet" in str(error)
        else:
            assert len(rows) == 500
    assert refused > 75


@pytest.mark.parametrize("num_rows", [2**31, 10**9, 2**62])
def test_a_file_that_claims_rows_it_does_not_have_is_told_by_its_footer_or_at_its_end(
    reader: Reader, tmp_path: Path, num_rows: int
):
    path = hostile.claiming(tmp_path / "a.parquet", num_rows)
    process = ListProcess(None, "/lists")
    assert process.schema(list_file(path)).num_rows == num_rows
    process.close()
    with pytest.raises(InputListError, match=r"a\.parquet: (is damaged|cannot be read|takes more)"):
        reader(path)
    with pytest.raises(InputListError, match=f"it claims {num_rows} rows, and 777 in its row groups"):
        reader(hostile.claiming(tmp_path / "b.parquet", num_rows, in_all_places=False))


def test_a_bomb_costs_its_reader_less_than_300_mb_and_is_told(reader: Reader, tmp_path: Path):
    assert reader(hostile.parquet(tmp_path / "idle.parquet", {"uri": ["a"]})) != []
    idle_mib = peak_mib(reader._process.pid)  # noqa: SLF001
    for path in (
        hostile.dictionary_bomb(tmp_path / "dictionary.parquet"),
        hostile.long_string(tmp_path / "string.parquet", 320 * 2**20),
    ):
        assert path.stat().st_size < 2**20
        with pytest.raises(InputListError, match=f"{path.name}: takes more than 280 MiB"):
            reader(path)
        assert reader.peak_mib is not None
        assert (reader.peak_mib - idle_mib) * 2**20 < 300e6


def test_text_of_more_than_64_kib_is_refused_by_its_row(reader: Reader, tmp_path: Path):
    with pytest.raises(InputListError, match=r"row 2 has over 65536 bytes in column 'uri'"):
        reader(hostile.long_string(tmp_path / "a.parquet", 2**16 + 1))
    assert len(reader(hostile.long_string(tmp_path / "a.parquet", 2**16))) == 3


def test_a_packed_bomb_is_left_when_it_is_200_times_its_size(reader: Reader, tmp_path: Path):
    path = hostile.line_bomb(tmp_path / "a.csv.gz", 100 * 2**20)
    assert path.stat().st_size < 2**18
    with pytest.raises(InputListError, match=r"a\.csv\.gz: unpacks to more than 200 times its size"):
        reader(path)


def test_a_list_that_is_packed_twice_is_unpacked_once(reader: Reader, tmp_path: Path):
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(gzip.compress(b"uri\na.jpg\n")))
    with pytest.raises(InputListError, match=r"a\.csv\.gz: has no column 'uri'"):
        reader(tmp_path / "a.csv.gz")


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_a_line_without_end_is_refused_after_the_first_mebibyte(reader: Reader, tmp_path: Path, name: str):
    path = hostile.endless_line(tmp_path / "a.csv", 2**30 if name == "a.csv" else 2**24)
    if name == "a.csv.gz":
        (tmp_path / name).write_bytes(gzip.compress(path.read_bytes(), 1))
    began = time.monotonic()
    with pytest.raises(InputListError, match=r"a line of more than 1048576 bytes, or a quote .* in row 1 or after"):
        reader(tmp_path / name)
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", b"uri,b\n1,2\n3\n", "row 2 has 1 values for 2 columns"),
        ("a.csv", b'uri,b\n1,2\n3,"4\n5,6\n', "odd number of double quotes"),
        ("a.csv", b"uri,b\n1,2\n\xff,2\n", "row 2 is no UTF-8 in column 'uri'"),
        ("a.csv", b"uri,b\n1,\xed\xa0\x80\n", "row 1 is no UTF-8 in column 'b'"),
        ("a.csv", b"uri,size_bytes\na,1\nb,x\n", "row 2 holds no integer in column 'size_bytes'"),
        ("a.csv", b"a,b\n1,2\n", "has no column 'uri', only 'a', 'b'"),
        ("a.csv.gz", gzip.compress(b"uri\n" + os.urandom(9000))[:5000], "cannot be read"),
        ("a.csv.gz", b"uri\na\n", "cannot be read"),
        ("a.csv.zst", b"uri\na\n", "cannot be read"),
        ("a.parquet", b"uri\na\n", "cannot be read"),
    ],
)
def test_broken_text_is_refused_by_row(reader: Reader, tmp_path: Path, name: str, text: bytes, said: str):
    (tmp_path / name).write_bytes(text)
    with pytest.raises(InputListError, match=f"{name}: .*{said}"):
        reader(tmp_path / name)


def test_names_that_hold_anything_but_lone_surrogates_come_as_they_are(reader: Reader, tmp_path: Path):
    odd = ["nul\0.jpg", "line\n.jpg", "return\r.jpg", "\x1b[31mred.jpg", "\u202egpj.exe", "x" * 2000, "é", "e\u0301"]
    path = hostile.parquet(tmp_path / "a.parquet", {"uri": odd})
    assert [row["image_id"] for row in reader(path)] == odd
    data = path.read_bytes()
    path.write_bytes(data.replace("\u202e".encode(), b"\xed\xa0\x80"))
    with pytest.raises(InputListError, match="row 5 is no UTF-8 in column 'uri'"):
        reader(path)


# A process that is lost


def test_a_process_that_dies_over_a_file_is_the_files_fault(tmp_path: Path):
    process = ListProcess(None, "/lists")

    def read(_start: int, end: int) -> bytes:
        os.kill(process.pid, signal.SIGSEGV)
        return bytes(end)

    path = hostile.parquet(tmp_path / "a.parquet", {"uri": ["a"]})
    with pytest.raises(InputListError, match=r"a\.parquet: the process that read it died of SIGSEGV, after row 0"):
        process.schema(list_file(path, read))


def test_a_process_that_is_silent_is_ended(tmp_path: Path):
    process = ListProcess(None, "/lists", timeout_s=1.0)
    path = hostile.parquet(tmp_path / "a.parquet", {"uri": ["a"]})
    process.schema(list_file(path))
    os.kill(process.pid, signal.SIGSTOP)
    with pytest.raises(InputListError, match="said nothing for 1 s"):
        process.schema(list_file(path))
    assert peak_mib(process.pid) is None


def test_a_file_that_changes_while_it_is_read_is_told(tmp_path: Path):
    path = hostile.parquet(tmp_path / "a.parquet", {"uri": ["a"]})
    process = ListProcess(None, "/lists")
    schema = process.schema(list_file(path))
    with pytest.raises(InputListError, match="has become shorter"):
        process.schema(list_file(path, lambda start, end: bytes(end - start - 1)))
    process.close()
    process = ListProcess(None, "/lists")
    with pytest.raises(InputListError, match="has changed while it was read"):
        list(process.batches(list_file(hostile.parquet(path, {"uri": ["a"], "b": [1]})), schema, ALL))
    process.close()


def test_reading_ends_soon_after_as_many_rows_as_are_allowed(reader: Reader, tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"uri\n" + b"".join(b"%d.jpg\n" % number for number in range(200_000)))
    assert 1000 < len(reader(path, max_rows=1000)) <= 1000 + 2**14
