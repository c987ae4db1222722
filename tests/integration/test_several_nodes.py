"""The job on a cluster of a head that takes no work and nodes that come, drain and are lost, all on this machine."""

import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

import pipeline
from pipeline.featureset.schema import WORK_FIELDS
from tests.runbook_page import commands_of
from tests.several_nodes import REPOSITORY, Node, SeveralNodes

# A unit that is tried again, as those of a lost node are, may take longer than a quiet machine needs.
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
_MOST_SHIPPED_BYTES = 5_000_000
# A leak of a pixel block or a plan a unit would be ten times that.
_MOST_BYTES_A_UNIT = 100_000


@pytest.fixture(scope="module")
def nodes() -> Iterator[SeveralNodes]:
    """A head, with no node yet."""
    with SeveralNodes() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def decoder(nodes: SeveralNodes) -> Node:
    """The CPU node that is left when a job has lived through the loss of another."""
    return nodes.add(num_cpus=3)


def commits(sink: Path) -> list[dict[str, str]]:
    """The work that committed units tell of."""
    files = (sink / "runs/000001/commits").glob("*.json")
    return [json.loads(file.read_text())["work"] for file in files]


def wait_for(cluster: SeveralNodes, sink: Path, count: int) -> None:
    """Until that many units are committed."""
    cluster.wait(lambda: len(commits(sink)) >= count, f"fewer than {count} units were committed below {sink}")


def test_a_submitted_job_waits_for_nodes_drains_when_stopped_and_lives_through_a_lost_node(
    nodes: SeveralNodes,
    request: pytest.FixtureRequest,
    make_photos: Callable[[Path, int], list[str]],
    tmp_path: Path,
):
    folder, sink = tmp_path / "photos", tmp_path / "features"
    names = make_photos(folder, 200)
    command = ["python", "jobs/embed.py", f"source.uri={folder}", f"sink.uri={sink}", "model=hiera_debug"]
    command += ["model.checkpoint=random", "execution.images_per_unit=1", "features=embed"]
    nodes.submit("first", *command)
    nodes.wait(lambda: "waiting for a node with 1 CPU; the cluster has 1 node" in nodes.told("first"), "it waits not")
    nodes.wait(lambda: "pending placement groups" in nodes.ray("status").stdout, "an autoscaler knows nothing of it")
    require_lean_working_directory(nodes)

    lost = nodes.add(num_cpus=3)
    wait_for(nodes, sink, 5)
    assert nodes.ray("job", "stop", "first").returncode == 0
    ended, said = nodes.end_of("first")
    assert ended == "STOPPED", said
    assert "draining: all units in hand are committed" in said, said
    assert "error: stopped by SIGTERM; what is committed stays, run the same command again" in said, said
    after_stop = len(commits(sink))
    assert 5 <= after_stop < len(names)

    other = request.getfixturevalue("decoder")
    nodes.submit("second", *command)
    wait_for(nodes, sink, after_stop + 5)
    find, find_here = commands_of("stuck-actor")
    found = nodes.type(find)
    assert lost.node_id in found or other.node_id in found, "the runbook does not find the encoder"
    assert set(nodes.type(find_here).split()) & set(re.findall(r"pid: (\d+)", found)), "nor does it on its machine"
    for command in commands_of("lost-node"):
        assert lost.node_id[:12] in nodes.type(command), command
    before_loss = len(commits(sink))
    lost.kill()
    ended, said = nodes.end_of("second")
    assert ended == "SUCCEEDED", said
    assert f"node {lost.node_id[:12]} is gone; the cluster has 2 nodes with 3 CPUs and 0 GPUs" in said, said
    assert f"run 1: {len(names) - after_stop} of {len(names)} images to embed" in said, said
    assert f"sealed run 1 of {sink}" in said, said
    assert before_loss < len(names), "the node was lost too late to show anything"
    assert {each["node"] for each in commits(sink)} == {lost.node_id, other.node_id}
    expect_pooled(sink, names)


def require_lean_working_directory(cluster: SeveralNodes) -> None:
    """What was shipped is what a job needs: no outputs, environments, tests or secrets of a checkout."""
    (shipped,) = cluster.folder.glob("session_latest/runtime_resources/working_dir_files/_ray_pkg_*/")
    assert {"jobs", "pipeline", "configs"} <= {each.name for each in shipped.iterdir()}
    assert not {"outputs", "tests", "benchmarks", ".git", ".venv"} & {each.name for each in shipped.iterdir()}
    size_bytes = sum(file.stat().st_size for file in shipped.rglob("*") if file.is_file())
    assert size_bytes < _MOST_SHIPPED_BYTES, f"{size_bytes} bytes were shipped"


def expect_pooled(sink: Path, names: list[str]) -> None:
    """Each image once, and the set whole."""
    features = pipeline.open_features(str(sink))
    assert Counter(features.image_ids) == Counter(names)
    assert features.is_sealed
    assert features.quarantine.num_rows == 0
    verify = [sys.executable, "jobs/verify.py", f"sink.uri={sink}", "level=full"]
    done = subprocess.run(verify, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_gpu_nodes_encode_cpu_nodes_decode_one_that_joins_is_used_and_one_that_drains_is_left(
    nodes: SeveralNodes, decoder: Node, make_photos: Callable[[Path, int], list[str]], tmp_path: Path
):
    folder, sink, log = tmp_path / "photos", tmp_path / "features", tmp_path / "said.log"
    names = make_photos(folder, 400)
    with log.open("w") as said:
        command = [sys.executable, "-m", "tests.logical_gpus", str(folder), str(sink)]
        job = subprocess.Popen(command, cwd=REPOSITORY, env=nodes.environment, stdout=said, stderr=said)
    try:
        nodes.wait(lambda: "waiting for a node with a GPU; the cluster has 2 nodes" in log.read_text(), "it waits not")
        first = nodes.add(num_cpus=0, num_gpus=1)
        wait_for(nodes, sink, 20)
        size_bytes, num_before = psutil.Process(job.pid).memory_info().rss, len(commits(sink))
        second = nodes.add(num_cpus=0, num_gpus=1)
        nodes.wait(lambda: second.node_id in {each["node"] for each in commits(sink)}, "the second GPU is not used")

        drain = ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot"]
        done = nodes.ray("drain-node", "--node-id", first.node_id, *drain, "--deadline-remaining-seconds", "3")
        assert done.returncode == 0, done.stdout + done.stderr
        time.sleep(3)
        first.kill()  # as a cloud does then
        nodes.wait(lambda: f"node {first.node_id[:12]} is gone" in log.read_text(), "the run does not notice")
        Path(f"{sink}.hurry").touch()
        nodes.wait(lambda: job.poll() is not None or len(commits(sink)) > len(names) - 20, "the run does not go on")
        grown_bytes = psutil.Process(job.pid).memory_info().rss - size_bytes
        assert job.wait(60) == 0, log.read_text()
    finally:
        job.kill()
    work = commits(sink)
    assert {each["node"] for each in work} == {first.node_id, second.node_id}, "GPU nodes encode"
    assert {each["decoded_on"] for each in work} == {decoder.node_id}, "CPU nodes decode"
    assert grown_bytes / (len(names) - 20 - num_before) < _MOST_BYTES_A_UNIT
    expect_pooled(sink, names)
    assert {"node", "decoded_on"} <= {field.name for field in WORK_FIELDS}
