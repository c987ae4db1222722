"""One decoder process as its parent sees it: started by exec, asked with a deadline, and killed when it passes.

It says how a process was lost and whether it had begun the image; what follows from that is decided in `isolation`.
"""

import json
import os
import subprocess
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from pipeline import child_process
from pipeline.errors import ImageError
from pipeline.preprocessing.decoder_channel import Channel
from pipeline.preprocessing.pixel_rules import USUAL, PixelRules
from pipeline.preprocessing.served_file import BLOCK_BYTES, RangeReader

_START_TIMEOUT_S = 300.0  # an interpreter and torch, perhaps from a network disk that everybody reads just now
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class NotBegunError(Exception):
    """The process ended before it had begun the image, which therefore has nothing to do with it."""


class DecoderLostError(Exception):
    """The process was lost over an image it had begun, or ran out of memory over it; `error_type` names how."""

    def __init__(self, message: str, *, error_type: str) -> None:
        super().__init__(message)
        self.error_type = error_type


@dataclass(frozen=True)
class Decoded:
    """An image whose pixels are in their place: the original's height and width in pixels, and seconds by step."""

    height: int
    width: int
    seconds: dict[str, float]


class DecoderProcess:
    """A process running `decoder_loop.main`; starts at once, and is waited for when it is first used.

    Args:
        side_px: side of the square that images are resized to, in pixels.
        memory_bytes: what decoding one image may take.
        rules: what the run chose of how pixels are made.
    """

    def __init__(self, *, side_px: int, memory_bytes: int, rules: PixelRules = USUAL) -> None:
        self._memory_bytes = memory_bytes
        self._is_ready = False
        self._channel = Channel()
        told = {"side_px": side_px, "memory_bytes": memory_bytes, "rules": asdict(rules)}
        try:
            self._popen = subprocess.Popen(  # noqa: S603
                child_process.command("pipeline.preprocessing.decoder_loop", **told),
                stdin=self._channel.their_socket.fileno(),
                stdout=self._channel.their_output,
                stderr=self._channel.their_output,
                env=child_process.environment(**_ONE_THREAD),
            )
        finally:
            self._channel.close_theirs()
        self._finish = weakref.finalize(self, _finish, self._popen, self._channel)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._popen.pid

    @property
    def is_open(self) -> bool:
        """Whether it can be asked: it was not lost and not closed."""
        return bool(self._finish.alive)

    def close(self) -> None:
        """Kills the process, if it still lives."""
        self._finish()

    def decode(
        self,
        encoded: int,
        place: tuple[int, int],
        *,
        timeout_s: float,
        part: str | None = None,
        reader: RangeReader | None = None,
    ) -> Decoded:
        """Decodes what the file `encoded` holds, and writes its pixels to a file at an offset in bytes.

        Args:
            encoded: descriptor of an image file; with a `reader`, of an empty one that its bytes pass through.
            place: descriptor of the file for pixels, and the offset in it.
            timeout_s: how long decoding may take; then the process is killed.
            part: text of the `Part` to decode.
            reader: gives the process the bytes that it asks for.

        Raises:
            NotBegunError: the process ended before it began.
            DecoderLostError: the process ended, had to be killed, or ran out of memory.
            ImageError: the image cannot be decoded.
            RuntimeError: the process cannot start, or a fault of this program, with its traceback.
            PipelineError: whatever the reader raises.
        """
        handle, offset_bytes = place
        request = {"part": part, "offset_bytes": offset_bytes}
        answer = self._ask(request, (encoded, handle), timeout_s=timeout_s, reader=reader)
        with self._believing():
            return _decoded(**answer)

    def probe(self, kind: str, handles: tuple[int, int], *, timeout_s: float, reader: RangeReader | None = None) -> Any:
        """What the process finds out about an image without decoding it: plain values, see `decoder_requests.probe`.

        Args:
            kind: what to find out.
            handles: descriptor of the image file as in `decode`, and of a file for the answer.
            timeout_s: how long it may take.
            reader: as in `decode`.

        Raises:
            NotBegunError, DecoderLostError, ImageError, RuntimeError, PipelineError: as `decode`.
        """
        answer = self._ask({"probe": kind}, handles, timeout_s=timeout_s, reader=reader)
        with self._believing():
            return json.loads(os.pread(handles[1], min(answer["size_bytes"], os.fstat(handles[1]).st_size), 0))

    @contextmanager
    def _believing(self) -> Iterator[None]:
        """A process that an image has taken over may say anything; what makes no sense is the image's fault."""
        try:
            yield
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            self.close()
            what = f"its decoder gave an answer that makes no sense ({type(error).__name__})"
            raise DecoderLostError(what, error_type="DecoderCrashed") from None

    def _ask(
        self, request: dict[str, Any], handles: tuple[int, int], *, timeout_s: float, reader: RangeReader | None
    ) -> dict[str, Any]:
        if not self.is_open:
            raise NotBegunError("was closed")
        if reader is not None:
            request |= {"key": reader.key, "size_bytes": reader.size_bytes}
        try:
            self._wait_until_ready()
            self._begin(request, handles, timeout_s)
            answer = self._answer(timeout_s, reader, handles[0])
        except BaseException:  # also an interrupt: the next image must not be given this one's answer
            self.close()
            raise
        return self._result(answer)

    def _wait_until_ready(self) -> None:
        if self._is_ready:
            return
        try:
            self._channel.receive(_START_TIMEOUT_S)
        except TimeoutError:
            raise RuntimeError(f"the decoder process was not ready after {_START_TIMEOUT_S:g} s") from None
        except EOFError:
            how = self._how_it_ended()
            if self._popen.returncode < 0:
                raise NotBegunError(how) from None
            raise RuntimeError(f"the decoder process cannot start: it {how}\n{self._channel.printed()}") from None
        self._is_ready = True

    def _begin(self, request: dict[str, Any], handles: tuple[int, int], timeout_s: float) -> None:
        self._channel.forget_output()
        try:
            self._channel.send(request, handles)
            self._channel.receive(timeout_s)
        except TimeoutError:
            raise NotBegunError(f"did not answer for {timeout_s:g} s") from None
        except EOFError:
            raise NotBegunError(self._how_it_ended()) from None

    def _answer(self, timeout_s: float, reader: RangeReader | None, encoded: int) -> dict[str, Any]:
        rest_s = timeout_s
        try:
            while True:
                began = time.monotonic()
                with self._believing():
                    message = self._channel.receive(rest_s)
                    if message["kind"] != "read" or reader is None:
                        return message
                    start, end = _span(message, reader.size_bytes)
                rest_s -= time.monotonic() - began  # that the store takes its time is not the image's fault
                data = reader.read(start, end)
                os.pwrite(encoded, data, 0)
                self._channel.send({"size_bytes": len(data)})
        except TimeoutError:
            what = f"it was not decoded within {timeout_s:g} s"
            raise DecoderLostError(what, error_type="DecodeTimeout") from None
        except EOFError:
            how, printed = self._how_it_ended(), self._channel.printed()
            if child_process.OUT_OF_MEMORY.search(printed):
                raise self._out_of_memory(f"its decoder {how}") from None
            last_line = printed.rpartition("\n")[2][:200]
            said = f", last saying {last_line!r}" if last_line else ""
            raise DecoderLostError(f"its decoder {how}{said}", error_type="DecoderCrashed") from None

    def _result(self, answer: dict[str, Any]) -> dict[str, Any]:
        kind = answer.pop("kind")
        if kind == "refused":
            with self._believing():
                refusal = ImageError(answer.pop("message"), **answer)
            raise refusal
        if kind == "out of memory":
            raise self._out_of_memory(str(answer.get("message")))
        if kind == "failed":
            raise RuntimeError(f"a fault of the decoder process, not of the image:\n{answer.get('message')}")
        return answer

    def _out_of_memory(self, how: str) -> DecoderLostError:
        gibibytes = self._memory_bytes / 2**30
        message = f"it took more than {self._memory_bytes} bytes ({gibibytes:.1f} GiB) to decode ({how})"
        return DecoderLostError(message, error_type="DecodeMemory")

    def _how_it_ended(self) -> str:
        return child_process.how_it_ended(self._popen)


def _span(message: dict[str, Any], size_bytes: int) -> tuple[int, int]:
    """The range of bytes that the process asks for."""
    start, end = int(message["start"]), int(message["end"])
    if not 0 <= start <= end <= min(size_bytes, start + BLOCK_BYTES):
        raise ValueError(f"it asked for bytes {start} to {end}")
    return start, end


def _decoded(height: int, width: int, seconds: dict[str, float]) -> Decoded:
    return Decoded(int(height), int(width), {str(step): float(value) for step, value in seconds.items()})


def _finish(popen: subprocess.Popen[bytes], channel: Channel) -> None:
    popen.kill()
    popen.wait()
    channel.close()
