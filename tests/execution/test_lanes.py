"""How many batches an encoder works on at once, and with how many of torch's threads each."""

import os

import pytest
import torch

from pipeline.execution.lanes import lanes, num_lanes

CORES = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(("device", "threads", "expected"), [("cpu", 1, 1), ("cpu", 99, min(CORES, 8)), ("cuda", 9, 1)])
def test_lanes_are_as_many_as_there_are_cores_to_compute_on(device, threads, expected):
    assert num_lanes(device, threads) == expected


def test_a_lane_computes_with_its_share_of_the_threads():
    before = torch.get_num_threads()
    with lanes("cpu", 99) as executor:
        shares = {executor.submit(torch.get_num_threads).result() for _ in range(4)}
    assert shares == {max(1, CORES // num_lanes("cpu", 99))}
    assert torch.get_num_threads() == before, "of the thread that asked"
