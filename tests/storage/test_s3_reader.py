"""Reading objects piece by piece: what a file would give, however often the store fails meanwhile."""

import os
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import StoreUnavailableError
from pipeline.storage.folder import Folder
from tests.faults.faults import Answer, Cut, Fault, Reset
from tests.faults.proxied import ProxiedBucket

DATA = random.Random(5).randbytes(10_000)


@pytest.fixture
def folder(store: ProxiedBucket) -> Folder:
    """A prefix with one object."""
    store.direct.put_object(Bucket=store.bucket, Key="set/a", Body=DATA)
    return Folder(f"s3://{store.bucket}/set", 30.0)


def test_it_is_read_as_a_file_is(folder: Folder, tmp_path):
    (tmp_path / "a").write_bytes(DATA)
    chance = random.Random(3)
    with folder.open("a") as ours, (tmp_path / "a").open("rb") as true:
        assert ours.size() == len(DATA)
        for step in range(40):
            offset, count = chance.randrange(len(DATA) + 10), chance.choice([0, 1, 100, 20_000])
            whence = chance.choice([os.SEEK_SET, os.SEEK_END])
            place = offset if whence == os.SEEK_SET else -min(offset, len(DATA))
            for stream in (ours, true):
                stream.seek(place, whence)
            assert ours.read(count) == true.read(count), (step, place, whence, count)
            assert ours.tell() == true.tell(), (step, place, whence, count)
        for stream in (ours, true):
            stream.seek(10)
            stream.seek(5, os.SEEK_CUR)
        assert ours.read() == true.read() == DATA[15:]
        assert ours.read() == b""


def test_an_empty_object_is_read_without_a_request(folder: Folder, store: ProxiedBucket):
    folder.create("empty", b"")
    with folder.open("empty") as stream:
        assert stream.read() == b""
    assert store.proxy.seen("GetObject") == []


def test_only_what_is_asked_for_is_fetched(folder: Folder, store: ProxiedBucket):
    with folder.open("a") as stream:
        stream.seek(100)
        assert stream.read(7) == DATA[100:107]
    assert [seen.headers["range"] for seen in store.proxy.seen("GetObject")] == ["bytes=100-106"]


@pytest.mark.parametrize(
    "fault",
    [Answer(503), Answer(500), Reset(), Cut(0.5), Cut(0.5, "reset")],
    ids=["503", "500", "reset", "cut", "cut and reset"],
)
def test_trouble_in_the_middle_is_waited_out_or_ends_as_trouble(fault: Fault, store: ProxiedBucket):
    """Never as a damaged file, nor as the error of a library."""
    table = pa.table({"number": range(1000)})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    store.direct.put_object(Bucket=store.bucket, Key="table", Body=sink.getvalue().to_pybytes())
    patient, impatient = (Folder(f"s3://{store.bucket}", patience_s) for patience_s in (30.0, 0.1))
    with patient.open("table") as stream:
        fault.first = 4
        store.proxy.install(fault)
        assert pq.ParquetFile(stream).read().equals(table)
        assert fault.fired == 4
    with impatient.open("table") as stream:
        fault.first = None
        with pytest.raises(StoreUnavailableError, match=f"^s3://{store.bucket}/table could not be reached"):
            pq.ParquetFile(stream).read()


def test_an_object_that_went_meanwhile_is_not_found(folder: Folder):
    with folder.open("a") as stream:
        folder.delete("a")
        with pytest.raises(FileNotFoundError):
            stream.read()
