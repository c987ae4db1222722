"""A Ray cluster of several nodes on this machine, made by `ray.cluster_utils`, whose processes a drill may kill.

It lives in a process of its own, which ends it when its standard input closes: nothing of it outlives a drill.
"""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Self

import psutil

ENCODER = "ray::MapWorker(MapBatches(EncodeAndWrite"
DECODER = "pipeline.preprocessing.decoder_loop"
_HEAD_LIMIT_S = "12"


class RayCluster:
    """A head and one node beside it, with an encoder each."""

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="ray")  # short: Ray's sockets live below it
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_gcs_rpc_server_reconnect_timeout_s": _HEAD_LIMIT_S,
        }

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.chaos.ray_cluster", self._folder]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, env=self.environment, text=True, start_new_session=True, **pipes)
        self.environment["RAY_ADDRESS"] = self._answer()["address"]
        return self

    def __exit__(self, *_: object) -> None:
        family = [self._process.pid, *(each.pid for each in self._family())]
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def add_node(self) -> None:
        """Another node, in the place of one that was killed."""
        assert self._process.stdin is not None
        self._process.stdin.write("node\n")
        self._process.stdin.flush()
        self._answer()

    def encoders(self) -> list[psutil.Process]:
        """The processes that hold an encoder."""
        return [each for each in self._family() if _command(each).startswith(ENCODER)]

    def fetchers(self) -> list[psutil.Process]:
        """The processes that run fetch tasks: those with a decoder below them."""
        return [parent for each in self.decoders() if (parent := each.parent()) is not None]

    def decoders(self) -> list[psutil.Process]:
        """The processes that parse images."""
        return [each for each in self._family() if DECODER in _command(each)]

    def raylets(self) -> list[psutil.Process]:
        """The processes that are a node; the head's comes first and is left out."""
        found = [each for each in self._family() if _name(each) == "raylet"]
        return sorted(found, key=lambda each: each.create_time())[1:]

    def head(self) -> psutil.Process:
        """The process that is the head."""
        return next(each for each in self._family() if _name(each) == "gcs_server")

    def _family(self) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self._process.pid).children(recursive=True)
        return []

    def _answer(self) -> dict[str, str]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the Ray cluster did not come up: exit code {self._process.wait()}")
        answer: dict[str, str] = json.loads(line)
        return answer


def _command(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess):
        return " ".join(process.cmdline())
    return ""


def _name(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess):
        return str(process.name())
    return ""


def _main(folder: str) -> None:
    """The process that holds the cluster: a node more for every line on standard input."""
    answers, sys.stdout = sys.stdout, sys.stderr
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 3, "object_store_memory": 120 * 2**20}
    head = {**node, "include_dashboard": False, "temp_dir": folder}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    cluster.add_node(**node)
    print(json.dumps({"address": cluster.address}), file=answers, flush=True)
    for _ in sys.stdin:
        cluster.add_node(**node)
        print(json.dumps({"address": cluster.address}), file=answers, flush=True)


if __name__ == "__main__":
    os.chdir(Path(__file__).resolve().parents[2])
    _main(sys.argv[1])
