"""Which part of the object at a URI an image is, as the text that plans and indexes hold; none where it is all of it.

A part is a place in the file (a range of bytes, a row of a Parquet file) or in what it shows (a frame, a box), or both.
"""

from dataclasses import dataclass
from typing import Self
from urllib.parse import parse_qsl, urlencode

Box = tuple[int, int, int, int]
_FIELDS = frozenset({"bytes", "row", "column", "page", "video_frame", "pts", "box", "damage"})


@dataclass(frozen=True)
class Part:
    """Where in an object an image is.

    Attributes:
        bytes_at: first byte, and the one after the last.
        row: of a Parquet file, counted from 0 over all its row groups.
        column: of that file, such as `image.bytes`.
        page: frame of an animated image or page of a document, from 0.
        video_frame: frame of a video in the order they are shown, from 0.
        pts: when that frame is shown, in ticks of the video's stream, by which it is found.
        box: left, top, width, height in pixels of the upright image.
        damage: of an object that cannot be listed to its end, why: this stands for the images that are not known.
    """

    bytes_at: tuple[int, int] | None = None
    row: int | None = None
    column: str | None = None
    page: int | None = None
    video_frame: int | None = None
    pts: int | None = None
    box: Box | None = None
    damage: str | None = None

    @property
    def text(self) -> str | None:
        """The part as plans hold it, such as `bytes=512-9000` or `page=3&box=0,1024,1024,1024`; None for the whole."""
        fields = {
            "bytes": None if self.bytes_at is None else "{}-{}".format(*self.bytes_at),
            "row": self.row,
            "column": self.column,
            "page": self.page,
            "video_frame": self.video_frame,
            "pts": self.pts,
            "box": None if self.box is None else ",".join(map(str, self.box)),
            "damage": self.damage,
        }
        return urlencode({key: value for key, value in fields.items() if value is not None}, safe=",") or None

    @classmethod
    def of(cls, text: str | None) -> Self:
        """The part that a text stands for.

        Raises:
            ValueError: it is no such text.
        """
        fields = dict(parse_qsl(text or "", strict_parsing=bool(text), errors="strict"))
        if unknown := fields.keys() - _FIELDS:
            raise ValueError(f"part {text!r} has the unknown field {min(unknown)!r}")
        numbers = {key: int(fields[key]) for key in ("row", "page", "video_frame", "pts") if key in fields}
        start, _, end = fields.get("bytes", "").partition("-")
        left, top, width, height = map(int, fields.get("box", "0,0,0,0").split(","))
        return cls(
            bytes_at=(int(start), int(end)) if "bytes" in fields else None,
            column=fields.get("column"),
            box=(left, top, width, height) if "box" in fields else None,
            damage=fields.get("damage"),
            **numbers,
        )
