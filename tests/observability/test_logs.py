"""Log lines and crashes as they reach stderr, from a process of their own."""

import subprocess
import sys

SCRIPT = """
import logging
from pipeline.observability.logs import log_to_stderr
log_to_stderr()
logging.getLogger("pipeline").info("reading %s", "s3://u:hunter2@b/a" + chr(10) + chr(27) + "[2J")
logging.getLogger("urllib3").warning("retrying https://h/k?sig=hunter2")
try:
    raise OSError("https://h/k?sig=hunter2")
except OSError:
    logging.getLogger("pipeline").exception("failed")
raise ValueError("https://h/k?sig=hunter2")
"""

FOREIGN = """
import logging
from pipeline.observability.logs import log_to_stderr
log_to_stderr()
CLEARED = chr(27) + "[2J" + chr(13)
try:
    raise OSError(CLEARED + "first" + chr(10) + CLEARED + "second")
except OSError:
    logging.getLogger("pipeline").exception("failed")
raise ValueError(CLEARED)
"""


def test_a_record_is_a_line_and_neither_it_nor_a_crash_tells_secrets():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("INFO: reading s3://***@b/a\\n\\x1b[2J\nWARNING: retrying https://h/k?***\n")
    assert "ERROR: failed\nTraceback (most recent call last):\n" in done.stderr
    assert done.stderr.endswith("ValueError: https://h/k?***\n")
    assert "hunter2" not in done.stderr


def test_what_a_foreign_exception_says_does_not_speak_to_the_terminal():
    done = subprocess.run([sys.executable, "-c", FOREIGN], capture_output=True, check=False)
    assert b"\x1b" not in done.stderr
    assert b"\r" not in done.stderr
    lines = done.stderr.decode().splitlines()
    assert lines[:2] == ["ERROR: failed", "Traceback (most recent call last):"]
    first = lines.index(r"OSError: \x1b[2J\rfirst")
    assert lines[first + 1] == r"\x1b[2J\rsecond"
    assert lines[-1] == r"ValueError: \x1b[2J\r"
