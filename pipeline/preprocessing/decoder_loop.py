"""What runs inside the decoder process: encoded bytes from shared memory to pixels in shared memory, one by one.

It takes requests from its standard input, a socket, and says `begun` before it looks at an image, so that whoever
asked knows which image, if any, ended this process.
"""

import gc
import json
import os
import socket
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.child_process import OUT_OF_MEMORY, address_space_bytes, limit_memory, prepare_for_the_worst
from pipeline.errors import ImageError
from pipeline.featureset.part import Part
from pipeline.preprocessing.decoder_channel import PACKET_BYTES
from pipeline.preprocessing.pixel_rules import PixelRules
from pipeline.preprocessing.served_file import ServedFile

_TEXT_CHARACTERS = 8_000  # of a message; even with every character escaped, a packet holds it


def main(*, side_px: int, memory_bytes: int, rules: dict[str, Any]) -> None:
    """Answers requests until the other end of the socket is closed.

    Args:
        side_px: side of the square that images are resized to, in pixels.
        memory_bytes: how much more than after its imports the process may take.
        rules: the fields of `PixelRules`, as JSON has them.
    """
    prepare_for_the_worst()
    parent = _take_stdin()
    import torch

    from pipeline.preprocessing import decoder_requests  # noqa: F401  so that its cost is paid, and counted, here
    from pipeline.preprocessing.formats import limit_process

    torch.set_num_threads(1)
    pixel_rules = PixelRules(**{**rules, "background": tuple(rules["background"])})
    limit_process(pixel_rules.max_pixels, are_damaged_shown=pixel_rules.are_damaged_shown)
    allowed_bytes = limit_memory(memory_bytes)
    _say(parent, kind="ready")
    served = _Served(parent)
    while (request := _next_request(parent)) is not None:
        _say(parent, kind="begun")
        _say(parent, **_answer(request, served, side_px=side_px, rules=pixel_rules))
        # What an image has left behind ends with the process, before it is missed by another.
        if address_space_bytes() > allowed_bytes - memory_bytes * 3 // 4:
            return


def _take_stdin() -> socket.socket:
    """The socket, out of reach of whatever reads standard input or inherits it."""
    parent = socket.socket(fileno=os.dup(0))
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    return parent


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


class _Served:
    """The last file that was read through the parent: its parts come one after the other."""

    def __init__(self, parent: socket.socket) -> None:
        self._parent, self._handle = parent, -1
        self._file: ServedFile | None = None

    def file(self, request: dict[str, Any]) -> ServedFile:
        """The file that a request is about."""
        self._handle = request["encoded"]
        if self._file is None or self._file.key != request["key"]:
            self._file = ServedFile(request["key"], request["size_bytes"], self._ask)
        return self._file

    def forget(self) -> None:
        """Lets go of the file, and of what was made of it."""
        self._file = None

    def _ask(self, start: int, end: int) -> bytes:
        _say(self._parent, kind="read", start=start, end=end)
        packet = self._parent.recv(PACKET_BYTES)
        if not packet:
            sys.exit(0)
        return os.pread(self._handle, int(json.loads(packet)["size_bytes"]), 0)


def _answer(request: dict[str, Any], served: _Served, *, side_px: int, rules: PixelRules) -> dict[str, Any]:
    try:
        source = served.file(request) if "key" in request else _bytes(request["encoded"])
        if "probe" in request:
            return {"kind": "probed", "size_bytes": _probe(source, request, rules)}
        return {"kind": "decoded", **_decoded(source, request, side_px=side_px, rules=rules)}
    except Exception as error:  # noqa: BLE001  the parent is told of every one
        # Of an image that is damaged somewhere other parts can be had; one that was looked at may be asked for anew.
        if "probe" in request or not isinstance(error, ImageError):
            served.forget()
        for each in _chain(error):  # first of all, let go of what the failed step held
            traceback.clear_frames(each.__traceback__)
        return _told(error)
    finally:
        os.close(request["encoded"])
        os.close(request["pixels"])


def _bytes(handle: int) -> bytes:
    with open(handle, "rb", buffering=0, closefd=False) as encoded:
        encoded.seek(0)  # the position is the parent's too, and an earlier decoder's
        return encoded.read()


def _decoded(source: bytes | ServedFile, request: dict[str, Any], *, side_px: int, rules: PixelRules) -> dict[str, Any]:
    from pipeline.preprocessing.decoder_requests import prepare

    prepared = prepare(source, Part.of(request["part"]), side_px=side_px, rules=rules)
    # Faster than into a mapping of the memory, whose pages would have to be found one by one.
    if os.pwrite(request["pixels"], prepared.pixels_CHW.data, request["offset_bytes"]) < prepared.pixels_CHW.nbytes:
        raise MemoryError("no room for the pixels in shared memory")
    height, width = prepared.size
    return {"height": height, "width": width, "seconds": prepared.seconds}


def _probe(source: bytes | ServedFile, request: dict[str, Any], rules: PixelRules) -> int:
    """Writes what was found where pixels would go, for a packet may not hold it; gives its length."""
    from pipeline.preprocessing.decoder_requests import probe

    return os.pwrite(request["pixels"], json.dumps(probe(source, request["probe"], rules)).encode(), 0)


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
