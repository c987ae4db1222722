"""A Ray of others is used with a token or not at all, and one of our own always asks for one."""

import os
import subprocess
import sys

import pytest
import ray

from pipeline.errors import ConfigError
from pipeline.execution.cluster import Cluster
from pipeline.execution.ray_access import own_address, require_clean_command, require_token

FAR = ["10.0.0.1:6379", "auto", "ray://head:10001", "ray://10.0.0.1:10001", "head.example:6379", "[fd00::1]:6379"]
NEAR = [
    "127.0.0.1:6379",
    "127.9.9.9:1",
    "localhost:6379",
    "[::1]:6379",
    "ray://127.0.0.1:10001",
    "[::ffff:127.0.0.1]:1",
]
# What other programs take for loopback is not written so by anybody who means well.
ODD = [
    "0.0.0.0:6379",
    "[::]:6379",
    "127.1:6379",
    "2130706433:6379",
    "localhost.evil.example:1",
    "127.0.0.1@evil:1",
    "[:1",
]


@pytest.mark.parametrize("mode", [None, "disabled", ""])
@pytest.mark.parametrize("address", FAR + ODD)
def test_a_ray_that_others_reach_is_refused_without_a_token(
    monkeypatch: pytest.MonkeyPatch, address: str, mode: str | None
):
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    if mode is not None:
        monkeypatch.setenv("RAY_AUTH_MODE", mode)
    with pytest.raises(ConfigError, match=r"RAY_AUTH_MODE=token.*allow_unauthenticated_ray=true") as caught:
        Cluster(address, logs=False)
    assert caught.value.exit_code == 64
    assert not ray.is_initialized()
    Cluster(address, logs=False, allow_unauthenticated=True)


@pytest.mark.parametrize("address", NEAR)
def test_one_on_this_machine_alone_is_taken(monkeypatch: pytest.MonkeyPatch, address: str):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    require_token(address)


@pytest.mark.parametrize("address", FAR)
def test_with_a_token_any_ray_is_taken(monkeypatch: pytest.MonkeyPatch, address: str):
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    require_token(address)


def test_an_address_in_the_environment_counts_as_one_that_was_given(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with pytest.raises(ConfigError, match=r"Ray at 10\.0\.0\.1:6379"):
        Cluster(None, logs=False)
    assert own_address("local") is None
    monkeypatch.delenv("RAY_ADDRESS")
    assert own_address(None) is None


def test_a_command_line_that_a_cluster_would_show_holds_no_secret(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", ["jobs/embed.py", "model.checkpoint=https://h/x.pt?sig=hunter2"])
    with pytest.raises(ConfigError, match=r"^model\.checkpoint=https://h/x\.pt\?\*\*\*: Ray shows"):
        Cluster("127.0.0.1:6379", logs=False)
    Cluster(None, logs=False)  # nobody else is shown the jobs of a Ray of our own
    monkeypatch.setattr(sys, "argv", ["jobs/embed.py", "model.checkpoint=published"])
    require_clean_command()


SCRIPT = """
import os
import grpc
import ray
from pipeline.execution.cluster import open_cluster

def answer(*metadata):
    with grpc.insecure_channel(ray.get_runtime_context().gcs_address) as channel:
        call = channel.unary_unary("/ray.rpc.NodeInfoGcsService/GetAllNodeInfo")
        try:
            call(b"", metadata=metadata, timeout=20)
        except grpc.RpcError as error:
            return error.code().name
        return "OK"

with open_cluster(None, logs=False) as cluster:
    cluster.connect()
    right = ("authorization", "Bearer " + os.environ["RAY_AUTH_TOKEN"])
    print(answer(), answer(("authorization", "Bearer " + "0" * 64)), answer(right))
"""


def test_a_ray_of_our_own_asks_for_a_token_whatever_is_set_and_keeps_it_off_the_disk(tmp_path):
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment = {**inherited, "HOME": str(tmp_path), "RAY_AUTH_MODE": "disabled"}
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.split() == ["UNAUTHENTICATED", "UNAUTHENTICATED", "OK"], done.stdout + done.stderr
    assert list(tmp_path.rglob("auth_token")) == []
