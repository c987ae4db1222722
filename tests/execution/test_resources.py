"""Resources: what every encoder asks for, on every shape of cluster."""

import os
import subprocess
import sys

import pytest

from pipeline.errors import ConfigError
from pipeline.execution.resources import Need, Node, Placement, cores_here, first_need, in_words, place_encoders

GPU_NODE = Node(num_cpus=32, num_gpus=4, num_cores=32)
HEAD = Node(num_cpus=0, num_gpus=0, num_cores=4)  # takes no work


def cpus(*counts: int) -> list[Node]:
    return [Node(count, 0, count) for count in counts]


def test_every_gpu_gets_an_encoder():
    expected = Placement("cuda", num_encoders=4, num_cpus=1, num_gpus=1, num_threads=1)
    assert place_encoders([GPU_NODE], device="auto", num_encoders=None) == expected
    assert place_encoders([GPU_NODE], device="cuda", num_encoders=None) == expected


def test_a_mixed_cluster_encodes_on_its_gpus_alone():
    placed = place_encoders([HEAD, GPU_NODE, *cpus(16, 64), GPU_NODE], device="auto", num_encoders=None)
    assert (placed.device, placed.num_encoders, placed.num_gpus) == ("cuda", 8, 1)


def test_a_cluster_with_gpus_can_be_told_to_leave_them():
    placed = place_encoders([GPU_NODE], device="cpu", num_encoders=None)
    assert placed == Placement("cpu", num_encoders=1, num_cpus=30, num_gpus=0, num_threads=32)


def test_a_cluster_that_can_grow_takes_more_encoders_than_it_has_gpus_or_one_for_each_that_comes():
    named = place_encoders([GPU_NODE], device="cuda", num_encoders=16, can_grow=True)
    assert (named.num_encoders, named.may_grow) == (16, False)
    unnamed = place_encoders([GPU_NODE], device="auto", num_encoders=None, can_grow=True)
    assert (unnamed.num_encoders, unnamed.may_grow) == (4, True)
    assert not place_encoders(cpus(8), device="auto", num_encoders=None, can_grow=True).may_grow


@pytest.mark.parametrize(("num_cpus", "asked"), [(0, 0), (1, 0), (4, 0), (5, 1)])
def test_encoders_on_gpus_leave_the_last_cpus_of_their_node_to_tasks(num_cpus: int, asked: int):
    placed = place_encoders([HEAD, *cpus(4), Node(num_cpus, 4, num_cpus)], device="cuda", num_encoders=None)
    assert placed.num_cpus == asked


@pytest.mark.parametrize(
    ("nodes", "need", "lacking"),
    [
        ([HEAD], first_need("auto"), "a node with 1 CPU"),
        (cpus(1), first_need("cpu"), "a CPU more, to fetch and decode with"),
        (cpus(2), first_need("auto"), ""),
        (cpus(8), first_need("cuda"), "a node with a GPU"),
        ([Node(0, 1, 0)], first_need("cuda"), "a CPU more, to fetch and decode with"),
        ([Node(0, 1, 0), *cpus(1)], first_need("cuda"), ""),
        (cpus(8, 8), Need(14, 0), "a node with 14 CPUs"),
        ([Node(1, 1, 1), *cpus(8)], Need(2, 1), "a node with a GPU and 2 CPUs"),
    ],
)
def test_what_a_cluster_lacks_is_said(nodes: list[Node], need: Need, lacking: str):
    assert need.lacks(nodes) == lacking


def test_a_cluster_is_counted_in_words():
    assert in_words([HEAD, GPU_NODE]) == "2 nodes with 32 CPUs and 4 GPUs"


@pytest.mark.parametrize(
    ("nodes", "num_encoders", "num_cpus", "num_threads"),
    [
        (cpus(2), 1, 1, 2),
        (cpus(4), 1, 3, 4),
        (cpus(16), 1, 14, 16),
        (cpus(16, 16, 16), 3, 14, 16),
        (cpus(2, 4, 16), 3, 1, 2),  # the smallest node decides what each can ask for
        ([HEAD, *cpus(8)], 1, 6, 8),
        ([Node(5, 0, 2)], 1, 3, 2),  # a local Ray counts three CPUs more than there are cores
        (cpus(1, 1, 1), 2, 1, 1),  # one CPU is left for fetching
    ],
)
def test_every_cpu_node_gets_an_encoder_with_most_of_its_cores(
    nodes: list[Node], num_encoders: int, num_cpus: int, num_threads: int
):
    placed = place_encoders(nodes, device="auto", num_encoders=None)
    assert placed == Placement("cpu", num_encoders, num_cpus=num_cpus, num_gpus=0, num_threads=num_threads)


@pytest.mark.parametrize("num_cpus", range(3, 65))
def test_jobs_that_share_a_node_never_leave_each_other_without_a_cpu_to_fetch_with(num_cpus: int):
    """However many jobs come, the encoders that fit leave a CPU; the others wait for their turn."""
    placed = place_encoders(cpus(num_cpus), device="cpu", num_encoders=None)
    encoders_that_fit = num_cpus // placed.num_cpus
    assert num_cpus - encoders_that_fit * placed.num_cpus >= 1, placed


@pytest.mark.parametrize(
    ("nodes", "wanted", "num_cpus", "num_threads"),
    [
        (cpus(16), 2, 7, 8),
        (cpus(16), 7, 2, 2),
        (cpus(16), 15, 1, 1),
        (cpus(16, 16), 2, 14, 16),
        (cpus(16, 16), 3, 7, 8),
        (cpus(16, 16), 1, 14, 16),
    ],
)
def test_a_wanted_number_of_encoders_shares_the_cores(nodes: list[Node], wanted: int, num_cpus: int, num_threads: int):
    placed = place_encoders(nodes, device="cpu", num_encoders=wanted)
    assert placed == Placement("cpu", wanted, num_cpus=num_cpus, num_gpus=0, num_threads=num_threads)


@pytest.mark.parametrize("nodes", [cpus(2), cpus(4), cpus(16), cpus(2, 4, 16), cpus(8, 8), [Node(4, 0, 2)]], ids=str)
def test_every_placement_that_is_allowed_leaves_a_cpu_for_fetching(nodes: list[Node]):
    """Encoders keep their CPUs for the whole run; with none left, the run would wait for ever."""
    total = sum(int(node.num_cpus) for node in nodes)
    allowed = 0
    for wanted in range(1, total + 2):
        try:
            placed = place_encoders(nodes, device="cpu", num_encoders=wanted)
        except ConfigError:
            continue
        allowed += 1
        assert placed.num_encoders == wanted
        assert placed.num_cpus >= 1
        assert placed.num_threads >= 1
        assert wanted * placed.num_cpus < total, placed
        assert sum(int(node.num_cpus) // placed.num_cpus for node in nodes) >= wanted, placed
    assert allowed == total - 1


@pytest.mark.parametrize(
    ("nodes", "device", "num_encoders", "says"),
    [
        ([GPU_NODE], "auto", 5, "num_encoders=5, but the cluster has 4 GPUs"),
        (cpus(16), "cuda", None, "device=cuda, but no node of this Ray cluster has a GPU; use cpu or auto"),
        (
            cpus(4),
            "auto",
            4,
            "num_encoders=4, but the cluster's 4 CPUs hold at most 3 encoders and one CPU for fetching",
        ),
        (cpus(1), "auto", None, "num_encoders=1, but the cluster's 1 CPUs hold at most 0 encoders"),
        ([HEAD], "auto", None, "no node of this Ray cluster offers a CPU"),
        ([], "auto", None, "no node of this Ray cluster offers a CPU"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_numbers(
    nodes: list[Node], device: str, num_encoders: int | None, says: str
):
    with pytest.raises(ConfigError) as caught:
        place_encoders(nodes, device=device, num_encoders=num_encoders)
    assert says in str(caught.value)


def test_planning_and_placing_import_neither_ray_nor_torch():
    script = (
        "import sys, pipeline.execution.plan, pipeline.execution.resources, pipeline.execution.blocks\n"
        "print([name for name in ('ray', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stdout + done.stderr


@pytest.mark.parametrize(
    ("told", "expected"),
    [("max 100000", 1000), ("50000 100000", 1), ("150000 100000", 2), ("99999900000 100000", 1000), ("", 1000)],
)
def test_a_containers_quota_counts_where_it_is_below_the_cores_there_are(tmp_path, told, expected):
    (tmp_path / "cpu.max").write_text(told)
    assert cores_here(tmp_path / "cpu.max") == min(expected, len(os.sched_getaffinity(0)))


def test_without_a_quota_it_is_the_cores_there_are(tmp_path):
    assert cores_here(tmp_path / "none") == len(os.sched_getaffinity(0))
