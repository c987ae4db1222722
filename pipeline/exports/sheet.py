"""Contact sheets: images as tiles of one PNG, with captions and boxes; one that cannot be read is a grey tile."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from pipeline.errors import ImageError
from pipeline.exports.local_output import replacing
from pipeline.exports.picture import NO_PICTURE, picture
from pipeline.redaction import shown

Box = tuple[int, int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

TILE_PX = 192
MARGIN_PX = 8
LINE_PX = 16
NUM_COLUMNS = 6
_GREY, _BLACK, _RED, _WHITE = (160, 160, 160), (20, 20, 20), (220, 30, 30), (255, 255, 255)


@dataclass(frozen=True)
class Tile:
    """An image by its URI and part, two lines of caption, and a box to draw, in pixels of the original."""

    uri: str
    caption: tuple[str, str]
    box: Box | None = None
    part: str | None = None


def write_sheet(path: Path, tiles: Sequence[Tile | None], *, title: str | None = None) -> None:
    """Writes the tiles to a PNG, `NUM_COLUMNS` to a row, in their order.

    Args:
        path: of the PNG.
        tiles: at least one; None leaves a place empty.
        title: a line above all of them.

    Raises:
        SinkError, AccessDeniedError: it cannot be written.
    """
    with replacing(path) as staged:
        _drawn(tiles, title).save(staged, format="PNG")


def sheet_size(num_tiles: int, *, has_title: bool) -> tuple[int, int]:
    """(width, height) in pixels of a sheet."""
    columns, rows = min(num_tiles, NUM_COLUMNS), -(-num_tiles // NUM_COLUMNS)
    width = columns * (TILE_PX + MARGIN_PX) + MARGIN_PX
    return width, rows * _row_px() + MARGIN_PX + (LINE_PX + MARGIN_PX if has_title else 0)


def _row_px() -> int:
    return TILE_PX + 2 * LINE_PX + MARGIN_PX


def _drawn(tiles: Sequence[Tile | None], title: str | None) -> Image.Image:
    sheet = Image.new("RGB", sheet_size(len(tiles), has_title=title is not None), _WHITE)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    if title is not None:
        draw.text((MARGIN_PX, MARGIN_PX), _shortened(title, draw, font, px=sheet.width - 2 * MARGIN_PX), _RED, font)
    top = MARGIN_PX if title is None else LINE_PX + 2 * MARGIN_PX
    for number, tile in enumerate(tiles):
        if tile is None:
            continue
        row, column = divmod(number, NUM_COLUMNS)
        x, y = MARGIN_PX + column * (TILE_PX + MARGIN_PX), top + row * _row_px()
        sheet.paste(_thumbnail(tile), (x, y))
        for line, text in enumerate(tile.caption):
            caption = _shortened(text, draw, font, px=TILE_PX)
            draw.text((x, y + TILE_PX + line * LINE_PX + 1), caption, _BLACK, font)
    return sheet


def _thumbnail(tile: Tile) -> Image.Image:
    """A square with the whole image in its middle."""
    try:
        image = Image.fromarray(picture(tile.uri, tile.part))
    except NO_PICTURE as error:
        is_there = isinstance(error, ImageError) and error.error_type == "NotDrawn"
        return _grey("parts of this kind\nare not drawn" if is_there else "this image cannot\nbe read any more")
    square = Image.new("RGB", (TILE_PX, TILE_PX), _WHITE)
    scale = TILE_PX / max(image.size)
    small = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
    left, top = (TILE_PX - small.width) // 2, (TILE_PX - small.height) // 2
    square.paste(small, (left, top))
    if tile.box:
        x0, y0, x1, y1 = (each * scale for each in tile.box)
        corners = (left + x0, top + y0, max(left + x1 - 1, left + x0), max(top + y1 - 1, top + y0))
        ImageDraw.Draw(square).rectangle(corners, outline=_RED, width=3)
    return square


def _grey(words: str) -> Image.Image:
    tile = Image.new("RGB", (TILE_PX, TILE_PX), _GREY)
    ImageDraw.Draw(tile).multiline_text((TILE_PX // 2, TILE_PX // 2), words, _BLACK, anchor="mm", align="center")
    return tile


def _shortened(text: str, draw: ImageDraw.ImageDraw, font: Font, *, px: int) -> str:
    """The text, or its end behind dots where it is too long: ids that share a folder differ in their ends."""
    text = shown(text)
    if draw.textlength(text, font) <= px:
        return text
    kept = text
    while kept and draw.textlength(f"...{kept}", font) > px:
        kept = kept[1:]
    return f"...{kept}"
