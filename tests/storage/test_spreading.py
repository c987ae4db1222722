"""Spreading: results in order, a few items ahead and no more, and errors where their item stands."""

import threading
import time
from collections.abc import Iterator

import pytest

from pipeline.storage.spreading import in_threads


def test_results_come_in_the_order_of_the_items():
    def slow_first(item: int) -> int:
        time.sleep(0.01 if item == 0 else 0)
        return item * 2

    assert list(in_threads(slow_first, range(50), 8)) == [item * 2 for item in range(50)]


def test_items_are_worked_on_side_by_side():
    meeting = threading.Barrier(4, timeout=10)
    assert list(in_threads(lambda _: meeting.wait() >= 0, range(4), 4)) == [True] * 4


def test_the_stream_is_not_read_far_ahead():
    taken = []

    def items() -> Iterator[int]:
        for item in range(1000):
            taken.append(item)
            yield item

    results = in_threads(lambda item: item, items(), 2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    assert len(taken) <= 8
    results.close()


def test_an_error_ends_the_stream_and_what_has_not_begun():
    begun = []

    def fail(item: int) -> int:
        begun.append(item)
        if item == 3:
            raise ZeroDivisionError
        return item

    results = in_threads(fail, range(1000), 2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert len(begun) < 20


def test_no_items_give_no_results():
    assert list(in_threads(str, [])) == []
