"""A sparse file: what is here reads as in a whole file, and nothing else is made up."""

import os
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.readers.sparse_file import SparseFile

DATA = random.Random(1).randbytes(1000)


def sparse(*spans: tuple[int, int]) -> SparseFile:
    return SparseFile(len(DATA), {start: DATA[start:end] for start, end in spans})


def test_what_is_here_reads_as_in_the_whole_file():
    file = sparse((100, 200), (900, 1000))
    assert file.seek(120) == file.tell() == 120
    assert (bytes(file.read(30)), file.tell()) == (DATA[120:150], 150)
    assert file.seek(-60, os.SEEK_END) == 940
    assert bytes(file.read()) == DATA[940:]
    assert bytes(file.read(5)) == b""
    file.seek(-10, os.SEEK_CUR)
    assert bytes(file.read(100)) == DATA[990:]


@pytest.mark.parametrize(("start", "count"), [(0, 1), (99, 2), (150, 100), (199, 2), (0, 1000), (150, 800)])
def test_what_is_not_here_is_an_error_not_zeros(start: int, count: int):
    file = sparse((100, 200), (900, 1000))
    file.seek(start)
    with pytest.raises(OSError, match=f"bytes {start} to {start + count} of 1000 are not"):
        file.read(count)


def test_arrow_reads_one_column_from_its_bytes_alone():
    table = pa.table({"a": list(range(5000)), "b": [str(each) for each in range(5000)]})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="none", use_dictionary=False)
    data = sink.getvalue().to_pybytes()
    metadata = pq.read_metadata(pa.BufferReader(data))
    chunk = metadata.row_group(0).column(1)
    start, end = chunk.data_page_offset, chunk.data_page_offset + chunk.total_compressed_size
    file = pa.PythonFile(SparseFile(len(data), {start: data[start:end]}), mode="r")
    assert pq.ParquetFile(file, metadata=metadata).read_row_group(0, ["b"])["b"].equals(table["b"])
    with pytest.raises(OSError, match="are not where"):
        pq.ParquetFile(file, metadata=metadata).read_row_group(0, ["a"])
