"""docs/hostile_inputs.md: every input has its row, and every row tests that exist."""

import ast
import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (REPOSITORY / "docs" / "hostile_inputs.md").read_text().splitlines()
    if line.startswith("| X")
]


def numbers(cell: str) -> set[int]:
    """The inputs a row is about: X1, X3 and X5 to X7 are spelled `X1, X3, X5-X7`."""
    spans = re.findall(r"X(\d+)(?:-X(\d+))?", cell)
    return {number for first, last in spans for number in range(int(first), int(last or first) + 1)}


def named(cell: str) -> list[tuple[str, str]]:
    """File and name of each test that a row names; `::name` is in the file of the one before it."""
    found: list[tuple[str, str]] = []
    for test in cell.split("<br>"):
        file, _, name = test.partition("::")
        found.append((file or found[-1][0], name))
    return found


def test_every_input_has_a_row():
    assert {number for row in ROWS for number in numbers(row[0])} == set(range(1, 66))


def test_every_test_that_a_row_names_exists():
    for row in ROWS:
        assert len(row) == 4, row
        for file, name in named(row[3]):
            body = ast.parse((REPOSITORY / file).read_text()).body
            assert name.startswith("test_"), row
            assert name in {node.name for node in body if isinstance(node, ast.FunctionDef)}, f"{file}::{name}"
