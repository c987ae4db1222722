"""Served files: what libraries read is the file's bytes, asked for in blocks, few of which are kept."""

import io

import numpy as np
import pytest

from pipeline.preprocessing.served_file import BLOCK_BYTES, ServedFile

DATA = np.random.default_rng(7).bytes(40 * BLOCK_BYTES + 1234)


@pytest.fixture
def asked() -> list[tuple[int, int]]:
    return []


@pytest.fixture
def file(asked: list[tuple[int, int]]) -> ServedFile:
    def ask(start: int, end: int) -> bytes:
        asked.append((start, end))
        return DATA[start:end]

    return ServedFile("key", len(DATA), ask)


def test_it_reads_as_the_file_does(file: ServedFile):
    plain, buffered = io.BytesIO(DATA), io.BufferedReader(file)
    chance = np.random.default_rng(3)
    for _ in range(200):
        place, count = int(chance.integers(0, len(DATA) + 99)), int(chance.integers(0, 3 * BLOCK_BYTES))
        assert buffered.seek(place) == plain.seek(place)
        assert buffered.read(count) == plain.read(count), (place, count)
    assert buffered.seek(-5, io.SEEK_END) == len(DATA) - 5
    assert buffered.read() == DATA[-5:]


def test_blocks_are_asked_for_once_as_long_as_they_are_kept(file: ServedFile, asked: list[tuple[int, int]]):
    for place in (5, 100, BLOCK_BYTES - 1):
        file.seek(place)
        file.read(1)
    assert asked == [(0, BLOCK_BYTES)]
    for number in range(1, 33):
        file.seek(number * BLOCK_BYTES)
        file.read(1)
    file.seek(0)
    file.read(1)
    assert asked[-1] == (0, BLOCK_BYTES), "33 blocks were asked for since, and 32 are kept"
    assert len(asked) == 34
    file.seek(40 * BLOCK_BYTES)
    assert len(file.read()) == 1234
    assert asked[-1] == (40 * BLOCK_BYTES, len(DATA))


def test_nobody_seeks_before_the_beginning(file: ServedFile):
    with pytest.raises(ValueError, match="cannot seek to -1"):
        file.seek(-1)
