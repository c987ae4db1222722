"""What a process that parses strangers' bytes starts with: no credentials, no core dump, no life after its parent.

Decoders of images and readers of lists are such processes; each has a protocol of its own.
"""

import ctypes
import json
import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

# All that the process inherits: what bytes might get hold of must not open anybody's bucket.
_INHERITED = ("HOME", "LANG", "PATH", "TMPDIR", "TZ")
_INHERITED_PREFIXES = ("ATEN_", "GLIBC_", "LC_", "LD_", "MALLOC_", "PYTHON")
# The parent's own search path, so that the process finds the same packages wherever the parent has them from.
_START = (
    "import json, sys; told = json.loads(sys.argv[1]); sys.path[:] = told.pop('path');"
    "from {module} import main; main(**told)"
)
# How Python, torch, C++, Pillow and Arrow say that memory could not be had.
OUT_OF_MEMORY = re.compile(r"MemoryError|bad_alloc|[Oo]ut of memory|allocate memory|malloc of size|realloc of size")
_PR_SET_PDEATHSIG = 1
_END_TIMEOUT_S = 5.0


def command(module: str, **told: Any) -> list[str]:
    """The command line of a process that runs `main` of a module with these plain values as keyword arguments."""
    return [sys.executable, "-c", _START.format(module=module), json.dumps({"path": sys.path, **told})]


def environment(**added: str) -> dict[str, str]:
    """The few variables such a process inherits, and those that are added."""
    kept = {
        name: value for name, value in os.environ.items() if name in _INHERITED or name.startswith(_INHERITED_PREFIXES)
    }
    return {**kept, **added}


def prepare_for_the_worst() -> None:
    """To be called in the process: it dies with its parent, leaves no core dump, and leaves Ctrl-C to the parent."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def limit_memory(memory_bytes: int) -> int:
    """Lets this process take so much more than it has; gives how many bytes of addresses that makes in all."""
    allowed_bytes = address_space_bytes() + memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (allowed_bytes, allowed_bytes))
    return allowed_bytes


def address_space_bytes() -> int:
    """How many bytes of addresses this process has."""
    return int(Path("/proc/self/statm").read_bytes().split()[0]) * resource.getpagesize()


def how_it_ended(process: "subprocess.Popen[bytes]") -> str:
    """Waits for the end of a process that has closed its connection, and says how, such as `died of SIGSEGV`."""
    try:
        code = process.wait(_END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        code = process.wait()
    if code >= 0:
        return f"ended with exit code {code}"
    known = {each.value: each.name for each in signal.Signals}
    hint = ", as when the machine runs out of memory" if -code == signal.SIGKILL else ""
    return f"died of {known.get(-code, f'signal {-code}')}{hint}"
