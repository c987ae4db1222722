"""docs/runbook.md: the sections that alerts link to, overrides that exist, tests that are there."""

import ast
import re
from dataclasses import fields
from pathlib import Path

from pipeline.config import ExecutionConfig, RunConfig
from pipeline.errors import PipelineError
from tests.runbook_page import PAGE

REPOSITORY = Path(__file__).resolve().parents[2]
SECTIONS = [
    "throttling",
    "stuck-actor",
    "out-of-memory",
    "full-disk",
    "lost-node",
    "wrong-checkpoint",
    "half-finished-run",
    "cost-too-high",
    "many-images-fail",
    "slow-run",
]


def test_the_sections_are_those_that_alerts_link_to():
    assert re.findall("^## (.*)$", PAGE, flags=re.MULTILINE) == SECTIONS
    assert set(re.findall(r"\(#([\w-]+)\)", PAGE)) <= set(SECTIONS)


def test_every_section_has_commands():
    named = set(re.findall(r"^```sh ([\w-]+)$", PAGE, flags=re.MULTILINE))
    assert named == set(SECTIONS)


def test_every_override_exists():
    known = {f"execution.{each.name}" for each in fields(ExecutionConfig)} | {
        f"run.{each.name}" for each in fields(RunConfig)
    }
    named = set(re.findall(r"\b((?:execution|run)\.[a-z_]+)", PAGE))
    assert named - known == set()


def test_every_way_to_end_leads_somewhere():
    def codes(kind: type[PipelineError]) -> set[int]:
        return {kind.exit_code} | {code for each in kind.__subclasses__() for code in codes(each)}

    rows = {int(code) for code in re.findall(r"^\| (\d+) \| ", PAGE, flags=re.MULTILINE)}
    assert codes(PipelineError) - {70} <= rows


def test_every_test_that_is_named_is_there():
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", PAGE)
    assert len(named) >= 5
    for file, name in named:
        body = ast.parse((REPOSITORY / file).read_text()).body
        assert name in {node.name for node in body if isinstance(node, ast.FunctionDef)}, f"{file}::{name}"
