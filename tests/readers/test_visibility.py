"""Visibility: of all rows of an image, in features or quarantine, the last one counts."""

import random

import pyarrow as pa
import pytest

from pipeline.readers.visibility import last_rows, take_rows


def kept(*tables: list[str]) -> list[list[str]]:
    """The ids that count, table by table."""
    columns = [pa.chunked_array([pa.array(ids, pa.string())]) for ids in tables]
    rows = last_rows(columns)
    return [column.take(each).to_pylist() for column, each in zip(columns, rows, strict=True)]


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        ([["a", "b"]], [["a", "b"]]),
        ([["a", "b"], []], [["a", "b"], []]),
        ([[], ["a"]], [[], ["a"]]),
        ([[], []], [[], []]),
        ([["a", "b"], ["b"]], [["a"], ["b"]]),
        ([["b", "a", "c"], ["c", "b"]], [["a"], ["c", "b"]]),
        ([["a"], ["a"], ["a"]], [[], [], ["a"]]),
        ([["a", "b"], ["x"], [], ["b", "x"]], [["a"], [], [], ["b", "x"]]),
        ([["é😀", ""], ["é😀"]], [[""], ["é😀"]]),
    ],
)
def test_the_last_row_of_an_id_counts_and_order_stays(tables: list[list[str]], expected: list[list[str]]):
    assert kept(*tables) == expected


def test_columns_in_many_chunks_or_none_are_counted_through():
    chunks = pa.chunked_array([["a", "b"], [], ["c"]], pa.string())
    none = pa.chunked_array([], pa.string())
    later = pa.chunked_array([["b"]], pa.string())
    assert [rows.to_pylist() for rows in last_rows([chunks, none, later])] == [[0, 2], [], [0]]


def test_any_history_gives_each_id_once_and_from_its_last_table():
    chance = random.Random(7)
    tables = [chance.sample([str(number) for number in range(200)], chance.randrange(150)) for _ in range(9)]
    last = {image_id: number for number, ids in enumerate(tables) for image_id in ids}
    assert kept(*tables) == [[each for each in ids if last[each] == number] for number, ids in enumerate(tables)]


def test_taken_rows_of_tables_with_other_columns_have_nulls():
    tables = [pa.table({"a": [1, 2]}), pa.table({"a": [3, 4], "b": ["x", "y"]})]
    found = take_rows(tables, [pa.array([1]), pa.array([1, 0])])
    assert found.to_pydict() == {"a": [2, 4, 3], "b": [None, "y", "x"]}
