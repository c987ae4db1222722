"""Images as a plan lists them: where each is, and which part of what is there is its own."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pipeline.errors import UriError
from pipeline.featureset.part import Part
from pipeline.featureset.schema import PART
from pipeline.storage.uri import Place, parse

# The first byte, and the one after the last; None for the end of the file.
Span = tuple[int, int | None]


@dataclass(frozen=True)
class Listed:
    """An image as the plan has it."""

    image_id: str
    uri: str
    size_bytes: int
    version: str
    part: str | None = None

    @classmethod
    def of_unit(cls, row: dict[str, Any]) -> list["Listed"]:
        """The images of a row of the plan."""
        parts = row.get(PART.name) or [None] * len(row["image_id"])
        columns = [row[name] for name in ("image_id", "uri", "size_bytes", "version")]
        return [cls(*each) for each in zip(*columns, parts, strict=True)]

    @property
    def is_windowed(self) -> bool:
        """Whether it is a small part of what its bytes show, to be read where it is wanted."""
        part = Part.of(self.part)
        is_windowed = part.box is not None or part.video_frame is not None
        return part.row is not None or (is_windowed and self.has_size)

    @property
    def has_size(self) -> bool:
        """Whether it is known how many bytes it has; if not, it is read as a whole."""
        return self.size_bytes > 0 or Part.of(self.part).bytes_at is not None

    @cached_property
    def place(self) -> Place | None:
        """Where it is; None if its URI is none that is read."""
        try:
            return parse(self.uri)
        except UriError:
            return None

    @property
    def store(self) -> tuple[str, str] | None:
        """The store it is in: the disk, a bucket, a host."""
        return None if self.place is None else (self.place.scheme, self.place.authority)

    @property
    def is_local(self) -> bool:
        """Whether it is a file."""
        return self.place is not None and self.place.is_local

    @property
    def is_on_the_web(self) -> bool:
        """Whether it is asked for by HTTP."""
        return self.place is not None and self.place.is_web

    @property
    def span(self) -> Span:
        """Which bytes of the file are its own: the first, and the one after the last; None for the end of the file."""
        return Part.of(self.part).bytes_at or (0, None)
