"""Scratch tables: filled batch by batch, given back batch by batch, and gone in the end."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from pipeline.maintenance.scratch import create, load, rows_of, scratch_database

SCHEMA = pa.schema([pa.field("name", pa.string(), nullable=False), pa.field("number", pa.int64(), nullable=False)])


def batches(count: int, size: int = 1000) -> Iterator[pa.RecordBatch]:
    for start in range(0, count, size):
        numbers = range(start, min(start + size, count))
        yield pa.record_batch([[f"é{number}" for number in numbers], numbers], schema=SCHEMA)


@pytest.mark.parametrize("count", [0, 1, 2500, 250_000])
def test_what_was_put_in_comes_out_in_batches_of_the_schema(count: int):
    with scratch_database() as connection:
        create(connection, "numbers", SCHEMA)
        load(connection, "numbers", batches(count))
        found = list(rows_of(connection, "FROM numbers ORDER BY number", SCHEMA))
    assert all(batch.schema.equals(SCHEMA) for batch in found)
    assert pa.Table.from_batches(found, SCHEMA).equals(pa.Table.from_batches(batches(count), SCHEMA).combine_chunks())
    assert len(found) > 1 or count < 250_000


def test_a_table_is_filled_further_or_made_anew():
    with scratch_database() as connection:
        create(connection, "numbers", SCHEMA)
        for _ in range(2):
            load(connection, "numbers", batches(3))
        assert connection.execute("SELECT count(*) FROM numbers").fetchall() == [(6,)]
        create(connection, "numbers", SCHEMA)
        load(connection, "numbers", batches(1))
        assert connection.execute("SELECT count(*) FROM numbers").fetchall() == [(1,)]


def test_an_error_of_whoever_gives_the_batches_arrives_as_it_is():
    def failing() -> Iterator[pa.RecordBatch]:
        yield from batches(3)
        raise ZeroDivisionError

    with scratch_database() as connection:
        create(connection, "numbers", SCHEMA)
        with pytest.raises(ZeroDivisionError):
            load(connection, "numbers", failing())


def test_nothing_is_left_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def fail_in_the_middle() -> None:
        with scratch_database() as connection:
            create(connection, "numbers", SCHEMA)
            load(connection, "numbers", batches(3))
            assert list(tmp_path.rglob("*.duckdb"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_in_the_middle()
    assert list(tmp_path.iterdir()) == []
    with scratch_database() as connection:
        pass
    with pytest.raises(duckdb.Error):
        connection.execute("SELECT 1")
    assert list(tmp_path.iterdir()) == []
