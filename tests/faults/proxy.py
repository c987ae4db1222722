"""The fault proxy: an HTTP server in a thread, between any S3 client and a store, that logs and harms requests.

It gives the store one request at a time, since moto looks whether a key is there and writes it without a lock.
`python -m tests.faults.proxy` starts a store and a proxy to play with.
"""

import asyncio
import contextlib
import socket
import sys
import threading
import time
import traceback
from functools import partial
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import urlsplit

from tests.faults.faults import Fault, error_response
from tests.faults.operations import Seen, classify
from tests.faults.store import S3Server, client_environment
from tests.faults.wire import READ_AHEAD, Request, Response, exchange, read_request, send_response

AnyFault = TypeVar("AnyFault", bound=Fault)


class FaultProxy:
    """A proxy for the length of a `with` block; `requests` is its log, in order of arrival.

    The first fault installed is the nearest to the client. Leaving the block drops what is still held or stalled,
    and raises if the proxy itself has failed.
    """

    def __init__(self, upstream: str, port: int = 0) -> None:
        address = urlsplit(upstream)
        self._upstream = (address.hostname or "127.0.0.1", address.port or 80)
        self._socket = socket.create_server(("127.0.0.1", port), backlog=256)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="fault-proxy", daemon=True)
        self._ready = threading.Event()
        self._faults: tuple[Fault, ...] = ()
        self._store_turn = asyncio.Lock()
        self._num_mutating = 0
        self._failures: list[str] = []
        self.requests: list[Seen] = []
        self.endpoint = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10), "the proxy's thread did not start"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        assert not self._thread.is_alive(), "the proxy's thread did not end"
        if not self._failures:
            return
        failed = RuntimeError("the proxy failed:\n" + "\n".join(self._failures))
        if error is None:
            raise failed
        error.add_note(str(failed))

    @property
    def num_mutating(self) -> int:
        """How many mutating requests have arrived: the k of a sweep goes from 1 to this."""
        return self._num_mutating

    def install(self, fault: AnyFault) -> AnyFault:
        """Switches a fault on for requests that arrive from now on; it starts counting at 1."""
        self._faults = (*self._faults, fault)
        return fault

    def clear(self) -> None:
        """Switches all faults off; what they hold or owe already takes its course."""
        self._faults = ()

    def forget(self) -> None:
        """Empties the log, and counts mutating requests from 1 again."""
        self.requests, self._num_mutating = [], 0

    def seen(self, operation: str) -> list[Seen]:
        """The log of one operation."""
        return [each for each in self.requests if each.operation == operation]

    def environment(self) -> dict[str, str]:
        """The variables with which an S3 client in any process talks to the store through this proxy."""
        return client_environment(self.endpoint)

    def __str__(self) -> str:
        return "\n".join([f"{self.endpoint} saw {len(self.requests)} requests", *map(str, self.requests)])

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._converse, sock=self._socket, limit=READ_AHEAD)
        self._ready.set()
        await self._stop.wait()
        server.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection until either side ends it."""
        try:
            while (request := await read_request(reader, writer)) is not None:
                if not await send_response(writer, await self._answer(request), request):
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client went away, as killed ones do, or the proxy's block ends
        except Exception:  # noqa: BLE001  raised where the test sees it, at the end of the block
            self._failures.append(traceback.format_exc())
        finally:
            writer.close()

    async def _answer(self, request: Request) -> Response:
        mutation = 0
        if request.is_mutating:
            self._num_mutating = mutation = self._num_mutating + 1
        seen = classify(request, len(self.requests) + 1, mutation)
        self.requests.append(seen)
        hitting = [fault for fault in self._faults if fault.fires(seen)]
        seen.faults = [type(fault).__name__ for fault in hitting]
        forward = partial(self._deliver, seen)
        for fault in reversed(hitting):
            forward = partial(fault.act, forward=forward)
        response = await forward(request)
        seen.answered = response.status
        return response

    async def _deliver(self, seen: Seen, request: Request) -> Response:
        """Gives the store a request, and logs how it took it."""
        async with self._store_turn:
            try:
                response = await exchange(self._upstream, request)
            except (OSError, asyncio.IncompleteReadError) as error:
                seen.stored.append(0)
                return error_response(502, f"StoreGone: {error!r}")
            seen.stored.append(response.status)
            return response


def main() -> None:
    """Starts a store and a proxy, prints the variables that lead to it, and then each request, until Ctrl-C."""
    with S3Server() as server, FaultProxy(server.endpoint) as proxy, contextlib.suppress(KeyboardInterrupt):
        server.make_bucket("bucket")
        lines = [f"export {name}={value}" for name, value in proxy.environment().items()]
        sys.stdout.write("\n".join([*lines, "# s3://bucket is there", ""]))
        shown = 0
        while True:
            time.sleep(0.2)
            for seen in proxy.requests[shown:]:
                sys.stdout.write(f"{seen}\n")
                shown += 1
            sys.stdout.flush()


if __name__ == "__main__":
    main()
