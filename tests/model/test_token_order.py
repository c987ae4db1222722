"""The order of tokens: windows and pooled cells are runs, whole windows come first, and what cannot nest is refused."""

import numpy as np
import pytest

from pipeline.model.token_order import TokenOrder

# Grids in finest tokens: SAM 2's at 1024 px, one that is not square, one smaller than the largest window.
GRIDS = [(256, 256), (128, 64), (32, 32)]
SPANS = [8, 8, 56, 56, 2, 4, 8]
STAGES = {1: 8, 2: 4, 4: 14, 8: 7}  # stride: side of a window in tokens of that stride


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("stride", STAGES)
def test_every_window_of_every_stage_is_one_run(grid: tuple[int, int], stride: int):
    order, side = TokenOrder(grid, SPANS), STAGES[stride]
    width = grid[1] // stride
    rows, columns = np.divmod(order.places(stride).numpy(), width)
    first, seen = 0, set()
    for windows in order.windows(stride, side):
        for _ in range(windows.count):
            run = slice(first, first + windows.height * windows.width)
            where = {(row // side, column // side) for row, column in zip(rows[run], columns[run], strict=True)}
            assert len(where) == 1, f"a run at {first} holds tokens of the windows {sorted(where)}"
            assert np.ptp(rows[run]) + 1 == windows.height
            assert np.ptp(columns[run]) + 1 == windows.width
            seen |= where
            first = run.stop
    assert first == len(rows)
    assert len(seen) == sum(windows.count for windows in order.windows(stride, side))


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("stride", [1, 2, 4])
def test_every_four_neighbours_are_one_token_of_the_next_stage(grid: tuple[int, int], stride: int):
    order = TokenOrder(grid, SPANS)
    rows, columns = np.divmod(order.places(stride).numpy().reshape(-1, 4), grid[1] // stride)
    pooled = order.places(2 * stride).numpy()
    for number in range(4):
        np.testing.assert_array_equal(rows[:, number] // 2 * (grid[1] // stride // 2) + columns[:, number] // 2, pooled)


def test_places_are_a_permutation():
    places = TokenOrder((128, 64), SPANS).places(4).numpy()
    np.testing.assert_array_equal(np.sort(places), np.arange(32 * 16))


def test_the_whole_grid_is_one_window_of_side_zero():
    (whole,) = TokenOrder((64, 32), SPANS).windows(4, 0)
    assert (whole.count, whole.height, whole.width, whole.num_tokens) == (1, 16, 8, 128)


@pytest.mark.parametrize(
    ("grid", "spans"), [((256, 256), [8, 12]), ((250, 256), [8, 56]), ((256, 252), [8, 56]), ((64, 64), [3, 8])]
)
def test_sides_that_do_not_nest_are_refused(grid: tuple[int, int], spans: list[int]):
    assert not TokenOrder.fits(grid, spans)
    with pytest.raises(ValueError, match="do not nest in a grid"):
        TokenOrder(grid, spans)
