"""Timing: seconds by step add up, and measuring never changes results."""

import pytest

from pipeline.observability.timing import Stopwatch


def test_steps_add_up_in_the_order_they_were_first_seen():
    watch = Stopwatch()
    for name in ("fetch", "decode", "fetch"):
        with watch.step(name):
            sum(range(1000))
    assert list(watch.seconds) == ["fetch", "decode"]
    assert all(seconds > 0 for seconds in watch.seconds.values())


def test_a_step_that_comes_again_adds_to_itself():
    watch = Stopwatch()
    with watch.step("fetch"):
        pass
    once = watch.seconds["fetch"]
    with watch.step("fetch"):
        sum(range(1000))
    assert watch.seconds["fetch"] > once


def test_what_was_measured_elsewhere_is_added():
    watch = Stopwatch({"fetch": 1.0, "decode": 2.0})
    watch.add({"decode": 0.5, "write": 0.25})
    assert watch.seconds == {"fetch": 1.0, "decode": 2.5, "write": 0.25}


def test_a_step_that_ends_with_an_error_is_counted_and_the_error_goes_on():
    watch = Stopwatch()
    with pytest.raises(ZeroDivisionError), watch.step("decode"):
        raise ZeroDivisionError
    assert list(watch.seconds) == ["decode"]


def test_seconds_are_a_copy_and_plain():
    given = {"fetch": 1.0}
    watch = Stopwatch(given)
    watch.seconds["fetch"] = 99.0
    watch.add({"fetch": 1.0})
    assert type(watch.seconds) is dict
    assert (watch.seconds, given) == ({"fetch": 2.0}, {"fetch": 1.0})
