"""The reference to one image, and what every source promises."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class ImageRef:
    """One image: its id in the feature set, where its bytes are, and what changes when they do."""

    image_id: str
    uri: str
    size_bytes: int
    version: str


class Source(Protocol):
    """Yields the refs of all images, the same ones in the same order as long as the input is the same."""

    description: dict[str, Any]
    """What makes two sources the same one: kind, URI and filters, plain values."""

    num_ignored: int
    """Files the last listing passed over because of their names."""

    def refs(self) -> Iterator[ImageRef]:
        """All images, in order.

        Raises:
            SourceError: the source is not there.
            AccessDeniedError: it may not be listed.
        """
        ...
