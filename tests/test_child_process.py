"""Processes that parse strangers' bytes: what they start with, and that they end with their parent or at a limit."""

import json
import os
import subprocess
import sys

import pytest

from pipeline import child_process


def run(code: str, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", f"from pipeline.child_process import *\n{code}"]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def test_a_process_inherits_no_credentials(monkeypatch: pytest.MonkeyPatch):
    secrets = ("AWS_SECRET_ACCESS_KEY", "GOOGLE_APPLICATION_CREDENTIALS", "RAY_AUTH_TOKEN", "DATABASE_URL")
    for name in secrets:
        monkeypatch.setenv(name, "hidden")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    given = child_process.environment(OMP_NUM_THREADS="1")
    assert "hidden" not in given.values()
    assert (given["LC_ALL"], given["OMP_NUM_THREADS"], given["PATH"]) == ("C.UTF-8", "1", os.environ["PATH"])


def test_a_command_runs_main_of_a_module_with_what_it_is_told(tmp_path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "said.py").write_text("import json\ndef main(**told): print(json.dumps(told))")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    done = subprocess.run(child_process.command("said", a="é 'x'", b=3), capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"a": "é 'x'", "b": 3}


def test_memory_beyond_the_limit_is_not_to_be_had_and_no_core_is_left():
    done = run(
        "import resource\nprepare_for_the_worst(); allowed = limit_memory(2**26)\n"
        "assert allowed - 2**26 <= address_space_bytes() <= allowed\n"
        "print(resource.getrlimit(resource.RLIMIT_CORE)); bytes(2**24); bytes(2**27)"
    )
    assert done.stdout.strip() == "(0, 0)"
    assert done.stderr.endswith("MemoryError\n")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import os; os._exit(3)", "ended with exit code 3"),
        ("import os; os.kill(os.getpid(), 11)", "died of SIGSEGV"),
        ("import os; os.kill(os.getpid(), 9)", "died of SIGKILL, as when the machine runs out of memory"),
        ("import os; os.kill(os.getpid(), 40)", "died of signal 40"),
    ],
)
def test_how_a_process_ended_is_told(code: str, said: str):
    assert child_process.how_it_ended(subprocess.Popen([sys.executable, "-c", code])) == said


def test_a_process_dies_with_its_parent():
    child = (
        "import time; from pipeline.child_process import *\n"
        "prepare_for_the_worst(); print('ready', flush=True); time.sleep(60)"
    )
    parent = (
        "import subprocess, sys, os\n"
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}], stdout=subprocess.PIPE)\n"
        "child.stdout.readline(); os._exit(0)"
    )
    assert run(parent, timeout=30).returncode == 0, "it would go on for a minute, and hold standard error open"


@pytest.mark.parametrize(
    "said",
    [
        "MemoryError",
        "terminate called after throwing an instance of 'std::bad_alloc'",
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate 2000000000 bytes",
        "out of memory error when reading image file",
        "malloc of size 300000064 failed",
        "realloc of size 300000064 failed",
    ],
)
def test_want_of_memory_is_known_by_its_words(said: str):
    assert child_process.OUT_OF_MEMORY.search(said)


def test_other_errors_are_no_want_of_memory():
    assert not child_process.OUT_OF_MEMORY.search("ArrowInvalid: CSV parse error: Expected 2 columns, got 3")
