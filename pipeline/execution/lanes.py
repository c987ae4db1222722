"""Threads that each encode a batch by themselves.

On a CPU they share the cores: threads that work on one image wait for each other after every product, so that a core
taken from one of them, by decoding or writing, stops them all.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import torch

# More batches at once than a few units have would stand still.
_MOST_LANES = 8


def num_lanes(device: str, num_threads: int) -> int:
    """How many batches an encoder of so many threads works on at once."""
    return min(_num_cores(num_threads), _MOST_LANES) if device == "cpu" else 1


def lanes(device: str, num_threads: int) -> ThreadPoolExecutor:
    """The threads; torch's own, of which there are `num_threads` in all, are shared among them."""
    if device != "cpu":
        return ThreadPoolExecutor(1, thread_name_prefix="encode")
    count = num_lanes(device, num_threads)
    # Torch counts threads by thread.
    each = partial(torch.set_num_threads, _num_cores(num_threads) // count)
    return ThreadPoolExecutor(count, thread_name_prefix="encode", initializer=each)


def _num_cores(num_threads: int) -> int:
    """A cluster may offer more logical CPUs than there are cores."""
    return min(num_threads, len(os.sched_getaffinity(0)))
