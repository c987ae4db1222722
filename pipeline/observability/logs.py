"""What a process says on stderr: log lines and the trace of a crash, without secrets, each where it belongs."""

import logging
import sys
import traceback
from types import TracebackType

from pipeline.redaction import escaped, redacted, shown


def log_to_stderr() -> None:
    """Shows warnings of everybody and more of this package, a line each; a crash is shown without its secrets too."""
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine("%(levelname)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("pipeline").setLevel(logging.INFO)
    sys.excepthook = _show_crash


class _OneLine(logging.Formatter):
    """A record on one line, and what was raised, if anything was, below it."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return shown(super().formatMessage(record))

    def formatException(self, ei: object) -> str:
        return _lines(super().formatException(ei))  # type: ignore[arg-type]


def _show_crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.stderr.write(_lines("".join(traceback.format_exception(kind, error, trace))))
    sys.stderr.flush()


def _lines(trace: str) -> str:
    """As `shown`, but the lines stay lines; a secret may be longer than one."""
    return "\n".join(map(escaped, redacted(trace).split("\n")))
