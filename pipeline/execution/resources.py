"""How many encoders, on what, with how many threads: arithmetic over the nodes of a cluster, free of ray."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import ConfigError


@dataclass(frozen=True)
class Node:
    """One node: logical CPUs and GPUs that tasks can ask for, and cores that can compute."""

    num_cpus: float
    num_gpus: float
    num_cores: int


@dataclass(frozen=True)
class Placement:
    """What every encoder actor asks for, and how many there are."""

    device: str
    num_encoders: int
    num_cpus: int
    num_gpus: int
    num_threads: int


def place_encoders(nodes: Sequence[Node], *, device: str, num_encoders: int | None) -> Placement:
    """One encoder a GPU where there are GPUs, else one a node with most of its cores.

    Args:
        nodes: the cluster.
        device: `auto`, `cpu` or `cuda`.
        num_encoders: None for as many as fit.

    Raises:
        ConfigError: CUDA was asked for and no node has a GPU, or more encoders than fit.
    """
    num_gpus = int(sum(node.num_gpus for node in nodes))
    if device == "cuda" and not num_gpus:
        raise ConfigError("execution.device=cuda, but no node of this Ray cluster has a GPU; use cpu or auto")
    if num_gpus and device != "cpu":
        wanted = num_encoders or num_gpus
        if wanted > num_gpus:
            raise ConfigError(f"execution.num_encoders={wanted}, but the cluster has {num_gpus} GPUs")
        return Placement("cuda", wanted, num_cpus=1, num_gpus=1, num_threads=1)
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
