"""How many encoders, on what, with how many threads, and what a cluster lacks for them: arithmetic, free of ray."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.observability.amounts import counted


def cores_here(cpu_max: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Cores that this process may compute on: those it is bound to, or fewer where a container's quota says so.

    Args:
        cpu_max: the quota and its period, in microseconds, as the kernel tells them; `max` is none.
    """
    num_bound = len(os.sched_getaffinity(0))
    try:
        quota, period = map(int, cpu_max.read_text().split())
    except (OSError, ValueError):
        return num_bound
    return min(num_bound, max(1, -(-quota // period)))


@dataclass(frozen=True)
class Node:
    """One node: logical CPUs and GPUs that tasks can ask for, cores that can compute, and its id in Ray."""

    num_cpus: float
    num_gpus: float
    num_cores: int
    node_id: str = ""


@dataclass(frozen=True)
class Need:
    """What one encoder asks of its node; the cluster must have a CPU more, to fetch and decode with."""

    num_cpus: int
    num_gpus: int

    def lacks(self, nodes: Sequence[Node]) -> str:
        """What must join these nodes before anything can be embedded, in words; empty if nothing."""
        if not any(node.num_cpus >= self.num_cpus and node.num_gpus >= self.num_gpus for node in nodes):
            parts = ("a GPU" if self.num_gpus else "", counted(self.num_cpus, "CPU") if self.num_cpus else "")
            return f"a node with {' and '.join(filter(None, parts))}"
        has_spare = sum(int(node.num_cpus) for node in nodes) > self.num_cpus
        return "" if has_spare else "a CPU more, to fetch and decode with"


@dataclass(frozen=True)
class Placement:
    """What every encoder actor asks for, how many begin, and whether more may join, one a free GPU."""

    device: str
    num_encoders: int
    num_cpus: int
    num_gpus: int
    num_threads: int
    may_grow: bool = False

    @property
    def need(self) -> Need:
        """What one of them asks of its node."""
        return Need(self.num_cpus, self.num_gpus)


def first_need(device: str) -> Need:
    """The least a cluster must have before encoders can be placed: what `device` (`auto`, `cpu`, `cuda`) asks for."""
    return Need(0, 1) if device == "cuda" else Need(1, 0)


def in_words(nodes: Sequence[Node]) -> str:
    """The nodes in words: how many, and what they have together."""
    num_cpus, num_gpus = int(sum(node.num_cpus for node in nodes)), int(sum(node.num_gpus for node in nodes))
    return f"{counted(len(nodes), 'node')} with {counted(num_cpus, 'CPU')} and {counted(num_gpus, 'GPU')}"


def place_encoders(
    nodes: Sequence[Node], *, device: str, num_encoders: int | None, can_grow: bool = False
) -> Placement:
    """One encoder a GPU where there are GPUs, else one a node with most of its cores.

    Args:
        nodes: the cluster.
        device: `auto`, `cpu` or `cuda`.
        num_encoders: None for as many as fit.
        can_grow: whether nodes may join: then encoders on GPUs may be more than there are GPUs, and without a number
            one more begins wherever a GPU turns up.

    Raises:
        ConfigError: CUDA was asked for and no node has a GPU, or more encoders than fit.
    """
    num_gpus = int(sum(node.num_gpus for node in nodes))
    if device == "cuda" and not num_gpus:
        raise ConfigError("execution.device=cuda, but no node of this Ray cluster has a GPU; use cpu or auto")
    if num_gpus and device != "cpu":
        wanted = num_encoders or num_gpus
        if wanted > num_gpus and not can_grow:
            raise ConfigError(f"execution.num_encoders={wanted}, but the cluster has {num_gpus} GPUs")
        # Tasks could otherwise take the CPU that an encoder waits for, and encoders the last that tasks need.
        num_cpus = int(all(node.num_cpus > node.num_gpus for node in nodes if node.num_gpus))
        may_grow = can_grow and num_encoders is None
        return Placement("cuda", wanted, num_cpus=num_cpus, num_gpus=1, num_threads=1, may_grow=may_grow)
    return _on_cpus([node for node in nodes if node.num_cpus >= 1], num_encoders)


def _on_cpus(nodes: Sequence[Node], num_encoders: int | None) -> Placement:
    if not nodes:
        raise ConfigError("no node of this Ray cluster offers a CPU: give it some, or execution.ray_address another")
    wanted = num_encoders or len(nodes)
    a_node = -(-wanted // len(nodes))
    num_cpus = min(max(1, int(node.num_cpus - _spare_cpus(node)) // a_node) for node in nodes)
    total = sum(int(node.num_cpus) for node in nodes)
    # Encoders keep their CPUs for the whole run; without one beside them nothing would ever be fetched.
    most = min(sum(int(node.num_cpus) // num_cpus for node in nodes), (total - 1) // num_cpus)
    if num_encoders is None:
        wanted = max(1, min(wanted, most))
    if wanted > most:
        raise ConfigError(
            f"execution.num_encoders={wanted}, but the cluster's {total} CPUs hold at most {most} encoders "
            "and one CPU for fetching and decoding"
        )
    num_threads = min(max(1, node.num_cores // a_node) for node in nodes)
    return Placement("cpu", wanted, num_cpus=num_cpus, num_gpus=0, num_threads=num_threads)


def _spare_cpus(node: Node) -> int:
    """CPUs left to fetching, decoding and Ray Data's own tasks.

    Always fewer than an encoder takes, where there are three CPUs or more: so the encoder of a second job on the
    cluster waits for its turn, rather than taking the last CPUs and leaving both jobs with nothing to encode.
    """
    return 2 if node.num_cpus >= 5 else 1
