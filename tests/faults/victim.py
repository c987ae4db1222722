"""Killing the process whose request has just arrived; waits for its end without taking its exit status."""

import asyncio
import os
import time

import psutil


def sender_of(port: int) -> int:
    """The process on this machine whose TCP connection has that local port."""
    for connection in psutil.net_connections("tcp"):
        if connection.laddr.port == port and connection.pid not in {None, os.getpid()}:
            return int(connection.pid)
    raise RuntimeError(f"no other process here has a connection from port {port}")


async def kill(pid: int) -> None:
    """SIGKILLs a process and returns when it runs no more, so that it sees nothing of what happens next."""
    try:
        process = psutil.Process(pid)
        process.kill()
        await asyncio.to_thread(_wait_dead, process)
    except psutil.NoSuchProcess:
        pass


def _wait_dead(process: psutil.Process, timeout_s: float = 10) -> None:
    # Not Process.wait: that would reap a child of this process, whose starter wants its exit code.
    until = time.monotonic() + timeout_s
    while process.status() not in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}:
        if time.monotonic() > until:
            raise RuntimeError(f"{process} outlived SIGKILL by {timeout_s} s")
        time.sleep(0.001)
