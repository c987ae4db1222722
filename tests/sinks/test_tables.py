"""Tables: Parquet files that are described while they are written, and appear whole or not at all."""

import gc
import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.featureset.schema import PLAN
from pipeline.sinks.tables import table_writer, write_table
from pipeline.storage.folder import Folder
from tests.small_set import plan_of

PLANNED = plan_of([["cats/1.jpg", "cats/2.jpg"], ["é😀.jpg"]])


@pytest.fixture
def root(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def files_in(root: Folder) -> list[str]:
    return sorted(str(path.relative_to(root.uri)) for path in Path(root.uri).rglob("*") if path.is_file())


def test_the_description_of_a_table_is_what_lies_on_disk(root: Folder):
    file = write_table(root, "runs/plan.parquet", PLANNED)
    data = root.read("runs/plan.parquet")
    assert (file.name, file.num_rows, file.size_bytes) == ("runs/plan.parquet", 2, len(data))
    assert file.sha256 == hashlib.sha256(data).hexdigest()


def test_a_table_comes_back_as_it_was_written(root: Folder):
    write_table(root, "plan.parquet", PLANNED)
    assert pq.ParquetFile(f"{root.uri}/plan.parquet").read().equals(PLANNED)


@pytest.mark.parametrize("num_rows", [0, 1, 5])
def test_a_table_of_any_length_can_be_written_in_pieces(root: Folder, num_rows: int):
    whole = plan_of([[str(number)] for number in range(num_rows)])
    with table_writer(root, "plan.parquet", PLAN) as writer:
        for start in range(num_rows):
            writer.append(whole.slice(start, 1))
    assert writer.file.num_rows == num_rows
    assert pq.ParquetFile(f"{root.uri}/plan.parquet").read().equals(whole)


def test_a_table_appears_when_it_is_whole(root: Folder):
    with table_writer(root, "plan.parquet", PLAN) as writer:
        writer.append(PLANNED)
        assert not Path(root.uri_of("plan.parquet")).exists()
    assert Path(root.uri_of("plan.parquet")).exists()


def test_an_error_while_writing_leaves_no_file_and_no_open_writer(root: Folder):
    def fail_in_the_middle() -> None:
        with table_writer(root, "plan.parquet", PLAN) as writer:
            writer.append(PLANNED)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_in_the_middle()
    gc.collect()  # a writer left open would now fail to write its footer, which pytest turns into an error
    assert files_in(root) == []


def test_a_table_never_replaces_another(root: Folder):
    first = write_table(root, "plan.parquet", PLANNED)
    with pytest.raises(FileExistsError):
        write_table(root, "plan.parquet", PLANNED.slice(1))
    assert hashlib.sha256(root.read("plan.parquet")).hexdigest() == first.sha256
    assert files_in(root) == ["plan.parquet"]


def test_everything_but_blobs_is_compressed_lists_too(root: Folder):
    schema = pa.schema([*PLAN, pa.field("map", pa.binary(4))])
    row = {**PLANNED.to_pylist()[0], "map": b"1234"}
    write_table(root, "t.parquet", pa.Table.from_pylist([row], schema=schema))
    group = pq.ParquetFile(f"{root.uri}/t.parquet").metadata.row_group(0)
    columns = {column.path_in_schema: column for column in map(group.column, range(group.num_columns))}
    assert {name: column.compression for name, column in columns.items()} == {
        "unit": "ZSTD",
        "image_id.list.element": "ZSTD",
        "uri.list.element": "ZSTD",
        "size_bytes.list.element": "ZSTD",
        "version.list.element": "ZSTD",
        "map": "UNCOMPRESSED",
    }
    assert not columns["map"].is_stats_set
    assert columns["unit"].is_stats_set
