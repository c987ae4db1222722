"""A real S3 server of our own: moto's, as a process on a free loopback port, its objects in memory.

It watches the pipe to the process that started it and ends when that closes, so a killed test leaves no server.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
from functools import cached_property
from typing import Any, Self

import boto3
from botocore.config import Config

REGION = "us-east-1"
# What `python -m moto.server` does, and an end of its own when its starter is gone.
SERVER = """
import os, sys, threading
def watch():
    while os.read(0, 1):
        pass
    os._exit(0)
threading.Thread(target=watch, daemon=True).start()
from moto.server import main
main(["-H", "127.0.0.1", "-p", sys.argv[1]])
"""


def client_environment(endpoint: str) -> dict[str, str]:
    """The variables with which any S3 client talks to `endpoint`, and to nothing this machine has configured."""
    return {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",  # moto looks at no signature
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }


def s3_client(endpoint: str, *, attempts: int = 1, read_timeout_s: float = 20, checks: bool = True) -> Any:
    """A boto3 client for `endpoint`, which tries once, and `checks` the checksums of what it reads."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id="testing",
        aws_secret_access_key="testing",  # noqa: S106  moto looks at no signature
        config=Config(
            retries={"total_max_attempts": attempts},
            connect_timeout=5,
            read_timeout=read_timeout_s,
            response_checksum_validation="when_supported" if checks else "when_required",
            proxies={},
        ),
    )


class S3Server:
    """An S3 server for the length of a `with` block."""

    def __init__(self) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  closed with the server
        self.port = _free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(self.port)],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the tests; they end this server when they have used it
        )
        try:
            self._wait(self.process)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            if self.process.stdin is not None:
                self.process.stdin.close()
        self._log.close()

    def environment(self) -> dict[str, str]:
        """The variables with which an S3 client talks to this server."""
        return client_environment(self.endpoint)

    @cached_property
    def client(self) -> Any:
        """A boto3 client of this server: what is really in the store, damaged or not, with no proxy between."""
        return s3_client(self.endpoint, checks=False)

    def make_bucket(self, name: str) -> None:
        """Creates an empty bucket."""
        self.client.create_bucket(Bucket=name)

    def empty_bucket(self, name: str) -> None:
        """Deletes all objects of a bucket, which would otherwise stay in the server's memory."""
        client = self.client
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=name):
            for item in page.get("Contents", []):
                client.delete_object(Bucket=name, Key=item["Key"])

    def log(self) -> str:
        """What the server printed: a line for each request, and its tracebacks."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until and process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise RuntimeError(f"moto did not come up on port {self.port} (exit code {process.poll()}):\n{self.log()}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
