"""The way of tokens through the blocks for one size of image: all that is the same for every image of that size."""

from dataclasses import dataclass

from torch import Tensor

from pipeline.model.hiera import PATCH_STRIDE, Hiera
from pipeline.model.token_order import TokenOrder, Windows

# Tokens of the finest grid that go through the first blocks at a time.
_TOKENS_AT_A_TIME = 8192
_POOLING = 2


@dataclass(frozen=True)
class Level:
    """A map that the neck takes: its number, (height, width), stride in finest tokens, and each token's place in it."""

    number: int
    size: tuple[int, int]
    stride: int
    places: Tensor


@dataclass(frozen=True)
class Step:
    """One block: the side of its windows, all of them in order, and the level that it ends (None: none)."""

    side: int
    windows: list[Windows]
    level: Level | None

    def windows_of(self, num_tokens: int) -> list[Windows]:
        """The windows that this many tokens are, if the grid cuts none of them."""
        return [Windows(num_tokens // self.side**2, self.side, self.side)]


class Way:
    """The order of the tokens and what each block finds in it.

    Args:
        trunk: whose blocks they are.
        size: (height, width) of the image in pixels.

    Attributes:
        places: where each token lies in the finest grid.
        positions_NC: the position embedding of each token.
        steps: one a block.
        levels: what the trunk hands on, finest first.
        num_leading: blocks at the start that mix only tokens of the same window of the first block.
        tokens_at_a_time: how many tokens to take through those.
    """

    def __init__(self, trunk: Hiera, size: tuple[int, int]) -> None:
        grid = (size[0] // PATCH_STRIDE, size[1] // PATCH_STRIDE)
        order = TokenOrder(grid, _spans(trunk))
        self.places = order.places()
        self.positions_NC = trunk.position_embedding(*grid).flatten(0, 2)[self.places]
        self.steps: list[Step] = []
        self.levels: list[Level] = []
        strides = _strides(trunk)
        for index, block in enumerate(trunk.block_shapes):
            level = None
            if index in trunk.stage_ends:
                after = strides[index + 1]
                level = Level(len(self.levels), (grid[0] // after, grid[1] // after), after, order.places(after))
                self.levels.append(level)
            self.steps.append(Step(block.window, order.windows(strides[index], block.window), level))
        first = trunk.block_shapes[0].window
        spans = [block.window * stride for block, stride in zip(trunk.block_shapes, strides, strict=False)]
        self.num_leading = next((i for i, span in enumerate(spans) if not 0 < span <= first), len(spans))
        self.tokens_at_a_time = max(1, _TOKENS_AT_A_TIME // max(1, first**2)) * max(1, first**2)

    @staticmethod
    def exists(trunk: Hiera, size: tuple[int, int]) -> bool:
        """Whether there is such an order for a trunk and a size of image."""
        if trunk.q_stride != (_POOLING, _POOLING) or not trunk.return_interm_layers:
            return False
        return TokenOrder.fits((size[0] // PATCH_STRIDE, size[1] // PATCH_STRIDE), _spans(trunk))


def level_sizes(trunk: Hiera, size: tuple[int, int]) -> list[tuple[int, int]]:
    """The (height, width) of the trunk's maps, finest first, for a size of image that it has a way for."""
    strides = [PATCH_STRIDE * _strides(trunk)[end + 1] for end in trunk.stage_ends]
    return [(size[0] // stride, size[1] // stride) for stride in strides]


def _strides(trunk: Hiera) -> list[int]:
    """The stride of the tokens that come into each block, and of those that leave the last, in finest tokens."""
    strides = [1]
    for block in trunk.block_shapes:
        strides.append(strides[-1] * (_POOLING if block.q_stride else 1))
    return strides


def _spans(trunk: Hiera) -> list[int]:
    """The sides of all windows and pooled cells, in finest tokens."""
    cells = [_POOLING ** (1 + number) for number, _ in enumerate(trunk.q_pool_blocks)]
    windows = zip(trunk.block_shapes, _strides(trunk), strict=False)
    return cells + [block.window * stride for block, stride in windows if block.window]
