"""Failures: counted by kind, and enough of them end a run, for certain or by the look of its beginning."""

import pytest

from pipeline.errors import TooManyFailedError
from pipeline.observability.failures import Failures


def failures(*units: tuple[int, int], error_type: str = "TruncatedImage") -> Failures:
    """What was counted of units of (failed, images)."""
    counted = Failures()
    for failed, images in units:
        counted.add({error_type: failed} if failed else {}, images, f"a.jpg: {failed} bad" if failed else "")
    return counted


@pytest.mark.parametrize(
    ("units", "num_planned", "max_share"),
    [
        ([], 100, 0.0),
        ([(0, 10)], 100, 0.0),
        ([(10, 10)], 100, None),
        ([(10, 10)], 100, 1.0),
        ([(10, 10)], 100, 0.1),  # all of the first ten, but not more than ten of a hundred
        ([(499, 499)], 10_000, 0.05),  # too early to say
        ([(50, 1000)], 10_000, 0.05),
        ([(29, 100)], 100, 0.29),  # 0.29 * 100 is less than 29 in binary
    ],
)
def test_a_run_goes_on_as_long_as_it_may_end_well(
    units: list[tuple[int, int]], num_planned: int, max_share: float | None
):
    failures(*units).check(num_planned, max_share)


@pytest.mark.parametrize(
    ("units", "num_planned", "max_share"),
    [
        ([(1, 1)], 100, 0.0),
        ([(10, 10), (1, 1)], 100, 0.1),  # even if all others are good
        ([(60, 60)] * 9, 10_000, 0.05),  # it looks bad
        ([(0, 474), (26, 26)], 10_000, 0.05),
        ([(501, 501)], 10_000, 0.05),
    ],
)
def test_a_run_that_fails_too_often_is_ended(units: list[tuple[int, int]], num_planned: int, max_share: float):
    with pytest.raises(TooManyFailedError) as end:
        failures(*units).check(num_planned, max_share)
    assert end.value.exit_code == 3


def test_the_error_tells_how_many_why_and_an_example():
    counted = failures((3, 10), (0, 10))
    counted.add({"NotAnImage": 1, "EmptyFile": 2}, 10, "b.jpg: not an image")
    with pytest.raises(TooManyFailedError) as end:
        counted.check(30, 0.1)
    said = str(end.value)
    assert said.startswith(
        "6 of the first 30 images failed (3 TruncatedImage, 2 EmptyFile, 1 NotAnImage), "
        "more than run.max_failed_share=0.1 allows; for example a.jpg: 3 bad\n"
    ), said
    assert "run the same command again, or mend the cause and give the run up" in said


def test_only_the_most_frequent_reasons_are_told():
    counted = Failures()
    for number in range(1, 10):
        counted.add({f"Type{number}": number}, number, "a.jpg: bad")
    with pytest.raises(TooManyFailedError, match=r"failed \(9 Type9, 8 Type8, 7 Type7, 6 Type6, 5 Type5\)"):
        counted.check(45, 0.5)
