"""What a run may choose of how pixels are made: plain values, which travel to the decoder process as they are."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PixelRules:
    """How pixels are made where there is a choice.

    Attributes:
        background: red, green and blue, 0 to 255 each, that show where an image is transparent.
        max_pixels: width times height from which on an image is refused by its header.
        are_damaged_shown: whether what can be seen of a damaged image will do: to show it, never to embed it.
    """

    background: tuple[int, int, int] = (255, 255, 255)
    max_pixels: int = 64_000_000
    are_damaged_shown: bool = False


USUAL = PixelRules()
