"""The page of rules for images names tests that are there."""

import ast
import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def test_every_rule_is_held_by_a_test_that_is_there():
    rows = [line for line in (REPOSITORY / "docs/images.md").read_text().splitlines() if line.startswith("| ")]
    rules = [row for row in rows[: rows.index("| cap | default | what it says |")] if "| kind |" not in row]
    assert len(rules) > 20
    for row in rules:
        (named,) = re.findall(r"`(test_\w+\.py)::(test_\w+)` \|$", row)
        tree = ast.parse((REPOSITORY / "tests/preprocessing" / named[0]).read_text())
        assert named[1] in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, row
