"""Progress: plain lines for logs, one live line for a terminal, and nothing on stdout."""

import os
import pty
import re
import subprocess
import sys

import pytest

from pipeline.observability.progress import RunProgress, announce

ON_A_TERMINAL = """
from pipeline.observability.progress import RunProgress, announce
with RunProgress(total=4, done=1) as progress:
    progress.advance(num_images=2, num_quarantined=1)
    progress.advance(num_images=1, num_quarantined=0)
"""


def test_the_last_unit_prints_a_plain_line_on_stderr(capsys: pytest.CaptureFixture[str]):
    with RunProgress(total=5, done=0) as progress:
        progress.advance(num_images=3, num_quarantined=1)
        assert capsys.readouterr().err == ""  # not more than a line every now and then
        progress.advance(num_images=2, num_quarantined=0)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.fullmatch(r"5/5 images, 1 quarantined, \d+\.\d\d images/s, 0 s left\n", printed.err), printed.err


def test_what_earlier_attempts_finished_counts_as_done_but_not_as_speed():
    progress = RunProgress(total=100, done=60)
    assert progress.line() == "60/100 images, 0 quarantined"
    progress.advance(num_images=10, num_quarantined=0)
    assert progress.line() == "70/100 images, 0 quarantined"  # a rate takes two units: the first had to start up


def test_a_line_tells_rate_and_time_left_once_there_is_a_rate():
    progress = RunProgress(total=100, done=0)
    progress.advance(num_images=10, num_quarantined=2)
    progress.advance(num_images=10, num_quarantined=3)
    assert re.fullmatch(r"20/100 images, 5 quarantined, \d+\.\d\d images/s, \d+ s left", progress.line())


def test_an_error_inside_goes_on():
    with pytest.raises(ZeroDivisionError), RunProgress(total=1, done=0):
        raise ZeroDivisionError


def test_a_terminal_gets_a_live_line():
    reader, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "160"}
    done = subprocess.run(
        [sys.executable, "-c", ON_A_TERMINAL], stderr=terminal, stdout=subprocess.PIPE, env=environment, check=False
    )
    os.close(terminal)
    shown = b""
    try:
        while piece := os.read(reader, 65536):
            shown += piece
    except OSError:  # the far end is closed: that was all
        pass
    os.close(reader)
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())
    assert (done.returncode, done.stdout) == (0, b""), plain
    assert "4/4 images" in plain, plain
    assert "1 quarantined" in plain, plain


def test_announcements_go_to_stderr(capsys: pytest.CaptureFixture[str]):
    announce("run 1: 9 of 9 images to embed")
    assert capsys.readouterr() == ("", "run 1: 9 of 9 images to embed\n")
