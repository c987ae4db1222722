"""The house rules as tests: sizes, names, docstrings, public names, and the README's picture of it all."""

import ast
import json
import re
from itertools import product
from pathlib import Path

import pytest

import pipeline

REPOSITORY = Path(__file__).resolve().parents[2]
# Constructors whose parameters the published configurations name.
PUBLISHED = {"hiera.py", "fpn.py", "position_encoding.py"}
CODE = sorted([*(REPOSITORY / "pipeline").rglob("*.py"), *(REPOSITORY / "jobs").glob("*.py")])
ROOMS = sorted(path.parent.name for path in (REPOSITORY / "pipeline").glob("*/__init__.py"))


def _functions(tree: ast.Module) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def _num_parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> tuple[int, int]:
    """How many may be given by position, and how many there are at all; self and cls do not count."""
    names = [argument.arg for argument in node.args.posonlyargs + node.args.args]
    positional = len(names) - (names[:1] in (["self"], ["cls"]))
    return positional, positional + len(node.args.kwonlyargs)


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_a_module_is_small_and_says_what_it_holds(path):
    text = path.read_text()
    tree = ast.parse(text)
    assert text.count("\n") <= 300, "split the module"
    opening = ast.get_docstring(tree)
    assert opening, "every module opens with what it holds"
    long = {node.name: node.end_lineno - node.lineno + 1 for node in _functions(tree)}
    assert {name: lines for name, lines in long.items() if lines > 60} == {}
    functions = [node for node in _functions(tree) if (path.name, node.name) not in product(PUBLISHED, ["__init__"])]
    counts = {node.name: _num_parameters(node) for node in functions}
    assert {name: count for name, count in counts.items() if count[0] > 3 or count[1] > 7} == {}


def test_no_room_is_a_drawer():
    assert not {"utils", "helpers", "common", "misc"} & {path.stem for path in CODE} | (
        {"utils", "helpers", "common", "misc"} & set(ROOMS)
    )


def test_jobs_are_short():
    lengths = {path.name: path.read_text().count("\n") for path in (REPOSITORY / "jobs").glob("*.py")}
    assert lengths.pop("job.py") <= 150
    assert {name: lines for name, lines in lengths.items() if lines > 60} == {}


def test_public_names():
    assert pipeline.__all__ == [
        "FeatureSet",
        "PipelineError",
        "__version__",
        "build_encoder",
        "open_features",
        "preprocess",
    ]
    for name in pipeline.__all__:
        assert getattr(pipeline, name).__doc__, name
    with pytest.raises(AttributeError, match="open_feature"):
        _ = pipeline.open_feature


def test_readme_room_table_gives_every_room_the_promise_it_makes():
    readme = (REPOSITORY / "README.md").read_text()
    table = dict(re.findall(r"^\| `pipeline/(\w+)/` \| (.+?) \|", readme, flags=re.MULTILINE))
    assert sorted(table) == ROOMS
    for room, promise in table.items():
        opening = ast.get_docstring(ast.parse((REPOSITORY / "pipeline" / room / "__init__.py").read_text())) or ""
        assert promise in " ".join(opening.split()), f"{room} promises something else"


def test_readme_names_only_files_that_are_there():
    readme = (REPOSITORY / "README.md").read_text()
    named = re.findall(r"`((?:pipeline|jobs|infra|docs|configs)/[\w/.]+)`", readme)
    assert named
    assert [name for name in named if not (REPOSITORY / name).exists()] == []


# Where the pieces meet: shown by whole runs, in tests/integration.
WIRING = {"execution/run.py", "execution/graph.py"}
# Protocols and tables that the tests of their users exercise.
WITHOUT_BEHAVIOUR = {"storage/entry.py"}


# The verbs themselves, in the storage room, and the one place that uses them.
DELETING = {"delete": "storage/folder.py", "abort_upload": "storage/folder.py"}


def test_nothing_is_deleted_but_by_cleaning():
    calls = {
        (str(path.relative_to(REPOSITORY / "pipeline")), node.func.attr)
        for path in (REPOSITORY / "pipeline").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in DELETING
    }
    assert calls - {(place, verb) for verb, place in DELETING.items()} == {
        ("maintenance/clean.py", "delete"),
        ("maintenance/clean.py", "abort_upload"),
        (
            "execution/measuring.py",
            "delete",
        ),  # a feature set that it has made for itself, beside the one that is planned
    }
    requests = [path for path in CODE if re.search("delete_object|abort_multipart_upload", path.read_text())]
    assert {path.parent.name for path in requests} == {"storage"}


def test_tests_mirror_the_code():
    rooms = [REPOSITORY / "pipeline" / room for room in ROOMS]
    written = {f"{room.name}/{file.name}" for room in rooms for file in room.glob("[!_]*.py")}
    tests = REPOSITORY / "tests"
    tested = {
        f"{room}/{file.name.removeprefix('test_')}" for room in ROOMS for file in (tests / room).glob("test_*.py")
    }
    assert written - tested == WIRING | WITHOUT_BEHAVIOUR, "a module without a test of its name"
    assert tested - written == set(), "a test without a module of its name"


def test_every_infra_file_starts_with_the_command_that_uses_it():
    files = [path for path in (REPOSITORY / "infra").rglob("*") if path.is_file()]
    assert files
    for path in files:
        text = path.read_text()
        first = json.loads(text)["description"] if path.suffix == ".json" else text.splitlines()[0]
        assert re.fullmatch(r"# \S+ .+", first), f"{path}: {first!r}"
