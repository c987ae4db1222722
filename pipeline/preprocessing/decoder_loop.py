"""What runs inside the decoder process: encoded bytes from shared memory to pixels in shared memory, one by one.

It takes requests from its standard input, a socket, and says `begun` before it looks at an image, so that whoever
asked knows which image, if any, ended this process.
"""

import ctypes
import gc
import json
import os
import re
import resource
import signal
import socket
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.errors import ImageError
from pipeline.preprocessing.decoder_channel import PACKET_BYTES
from pipeline.preprocessing.pixel_rules import PixelRules

# How Python, torch, C++ and Pillow say that memory could not be had.
OUT_OF_MEMORY = re.compile(r"MemoryError|bad_alloc|[Oo]ut of memory|allocate memory")
_TEXT_CHARACTERS = 8_000  # of a message; even with every character escaped, a packet holds it
_PR_SET_PDEATHSIG = 1


def main(*, side_px: int, memory_bytes: int, rules: dict[str, Any]) -> None:
    """Answers requests until the other end of the socket is closed.

    Args:
        side_px: side of the square that images are resized to, in pixels.
        memory_bytes: how much more than after its imports the process may take.
        rules: the fields of `PixelRules`, as JSON has them.
    """
    _prepare_for_the_worst()
    parent = _take_stdin()
    import torch

    from pipeline.preprocessing import transform  # noqa: F401  so that its cost is paid, and counted, here
    from pipeline.preprocessing.formats import limit_process

    torch.set_num_threads(1)
    pixel_rules = PixelRules(**{**rules, "background": tuple(rules["background"])})
    limit_process(pixel_rules.max_pixels)
    allowed_bytes = _address_space_bytes() + memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (allowed_bytes, allowed_bytes))
    _say(parent, kind="ready")
    while (request := _next_request(parent)) is not None:
        _say(parent, kind="begun")
        _say(parent, **_answer(request, side_px, pixel_rules))
        # What an image has left behind ends with the process, before it is missed by another.
        if _address_space_bytes() > allowed_bytes - memory_bytes * 3 // 4:
            return


def _prepare_for_the_worst() -> None:
    """Dies with the parent, whatever it is doing then; leaves no core dump; leaves Ctrl-C to the parent."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _take_stdin() -> socket.socket:
    """The socket, out of reach of whatever reads standard input or inherits it."""
    parent = socket.socket(fileno=os.dup(0))
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    return parent


def _address_space_bytes() -> int:
    return int(Path("/proc/self/statm").read_bytes().split()[0]) * resource.getpagesize()


def _next_request(parent: socket.socket) -> dict[str, Any] | None:
    try:
        packet, handles, _, _ = socket.recv_fds(parent, PACKET_BYTES, 2)
    except ConnectionError:
        return None
    if not packet:
        return None
    encoded, pixels = handles
    return {**json.loads(packet), "encoded": encoded, "pixels": pixels}


def _say(parent: socket.socket, **message: Any) -> None:
    try:
        parent.sendall(json.dumps(message).encode())
    except (BrokenPipeError, ConnectionResetError):
        sys.exit(0)


def _answer(request: dict[str, Any], side_px: int, rules: PixelRules) -> dict[str, Any]:
    try:
        return {"kind": "decoded", **_decoded(request, side_px, rules)}
    except Exception as error:  # noqa: BLE001  the parent is told of every one
        for each in _chain(error):  # first of all, let go of what the failed step held
            traceback.clear_frames(each.__traceback__)
        return _told(error)
    finally:
        os.close(request["encoded"])
        os.close(request["pixels"])


def _decoded(request: dict[str, Any], side_px: int, rules: PixelRules) -> dict[str, Any]:
    from pipeline.preprocessing.decode import decode
    from pipeline.preprocessing.transform import normalise

    began = time.perf_counter()
    with open(request["encoded"], "rb", buffering=0, closefd=False) as encoded:
        encoded.seek(0)  # the position is the parent's too, and an earlier decoder's
        pixels_HWC = decode(encoded.read(), rules=rules)
    decoded = time.perf_counter()
    pixels_CHW = normalise(pixels_HWC, side_px).numpy()
    # Faster than into a mapping of the memory, whose pages would have to be found one by one.
    if os.pwrite(request["pixels"], pixels_CHW.data, request["offset_bytes"]) < pixels_CHW.nbytes:
        raise MemoryError("no room for the pixels in shared memory")
    seconds = {"decode": decoded - began, "resize": time.perf_counter() - decoded}
    height, width = pixels_HWC.shape[:2]
    return {"height": height, "width": width, "seconds": seconds}


def _told(error: Exception) -> dict[str, Any]:
    """The error as a message: the image's fault, want of memory, or a fault of this program."""
    for each in filter(_is_out_of_memory, _chain(error)):
        gc.collect()  # takes 100 ms, too much for every bad image
        return {"kind": "out of memory", "message": f"{type(each).__name__} {each}".strip()[:_TEXT_CHARACTERS]}
    if isinstance(error, ImageError):
        facts = {"stage": error.stage, "error_type": error.error_type, "error_class": error.error_class}
        return {"kind": "refused", "message": str(error)[:_TEXT_CHARACTERS], **facts}
    text = "".join(traceback.format_exception(error))
    return {"kind": "failed", "message": text[-_TEXT_CHARACTERS:]}


def _is_out_of_memory(error: BaseException) -> bool:
    said_so = isinstance(error, RuntimeError | OSError) and OUT_OF_MEMORY.search(str(error)) is not None
    return isinstance(error, MemoryError) or said_so


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and those it stands for; `decode` turns whatever Pillow raises into the image's fault."""
    while error is not None:
        yield error
        error = error.__context__
