"""docs/hostile_inputs.md: every input has its row, and every row a test that exists."""

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


def test_every_input_has_a_row():
    assert {number for row in ROWS for number in numbers(row[0])} == set(range(1, 66))


def test_every_row_names_a_test_that_exists():
    for row in ROWS:
        file, _, name = row[3].partition("::")
        assert f"def {name}(" in (REPOSITORY / file).read_text(), row
