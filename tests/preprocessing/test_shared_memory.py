"""Shared memory: what is written to the file is in the array, and no memory is given out twice at a time."""

import gc
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.preprocessing.shared_memory import PixelMemory, file_of


def test_what_is_written_to_a_slot_is_in_the_array():
    slots = PixelMemory(20).slots(3)
    assert slots.pixels_NCHW.shape == (3, 3, 20, 20)
    pixels_CHW = np.arange(1200, dtype=np.float32).reshape(3, 20, 20)
    os.pwrite(slots.handle, pixels_CHW, 1 * slots.slot_bytes)
    np.testing.assert_array_equal(slots.pixels_NCHW[1], pixels_CHW)
    assert not slots.pixels_NCHW[[0, 2]].any()


def test_no_slots_are_no_pixels():
    assert PixelMemory(20).slots(0).pixels_NCHW.shape == (0, 3, 20, 20)


@pytest.mark.parametrize("keep", [lambda slots: slots, lambda slots: slots.pixels_NCHW[1:, 0], pa.py_buffer])
def test_memory_is_given_out_again_but_not_while_anybody_looks_at_it(keep):
    memory = PixelMemory(20)
    slots = memory.slots(2)
    handle = slots.handle
    kept = keep(slots.pixels_NCHW if keep is pa.py_buffer else slots)
    del slots
    gc.collect()
    other = memory.slots(2)
    assert other.handle != handle, "given out twice"
    del kept
    gc.collect()
    assert memory.slots(2).handle == handle, "not given out again"
    assert other.pixels_NCHW.shape == (2, 3, 20, 20)


@pytest.mark.parametrize(("earlier", "later"), [(2, 5), (5, 2), (5, 0)])
def test_memory_of_every_size_can_follow_every_other(earlier, later):
    memory = PixelMemory(20)
    handle = memory.slots(earlier).handle
    slots = memory.slots(later)
    assert (slots.handle == handle) == (later <= earlier)
    assert slots.pixels_NCHW.shape == (later, 3, 20, 20)
    slots.pixels_NCHW[:] = 1


def test_memory_that_is_kept_for_later_is_one_file_and_goes_with_its_owner():
    def open_files() -> int:
        gc.collect()
        handles = [handle for handle in Path("/proc/self/fd").iterdir() if handle.is_symlink()]
        return sum("memfd:pixels" in str(handle.readlink()) for handle in handles)

    before = open_files()
    memory = PixelMemory(20)
    several = [memory.slots(2) for _ in range(4)]
    assert open_files() > before
    one_file = open_files() - before
    del several
    assert 0 < open_files() - before <= one_file // 4
    del memory
    assert open_files() == before


def test_nobody_can_cut_the_memory_short():
    slots = PixelMemory(20).slots(1)
    with pytest.raises(PermissionError):
        os.ftruncate(slots.handle, 0)


@pytest.mark.parametrize("data", [b"", b"some bytes", bytes(10**6)], ids=len)
def test_a_file_holds_the_data_for_the_length_of_the_block(data):
    with file_of(data) as handle:
        assert os.pread(handle, 10**6 + 1, 0) == data
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(handle)
