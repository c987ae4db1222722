"""What a plan has to know of files before it can list their images: asked of a decoder process, which parses them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline.execution.fetch import DecodeLimits
from pipeline.execution.image_bytes import ImageBytes, Listed, Ranges
from pipeline.observability.timing import Stopwatch
from pipeline.storage.trouble import PATIENCE_S

if TYPE_CHECKING:
    from pipeline.preprocessing.isolation import IsolatedDecoder


class Prober:
    """Asks about one file after the other; its process starts with the first.

    Args:
        limits: of one question.
        patience_s: how long a store may be in trouble, in seconds, at each read.
    """

    def __init__(self, *, limits: DecodeLimits, patience_s: float = PATIENCE_S) -> None:
        self._limits, self._bytes = limits, ImageBytes(patience_s)
        self._decoder: IsolatedDecoder | None = None

    def ask(self, ref: Mapping[str, Any], kind: str) -> Any:
        """What is found of the file that a ref is all of.

        Args:
            ref: a row of `REFS`.
            kind: what to ask, see `decoder_requests.probe`.

        Raises:
            ImageError: it cannot be read or parsed.
            StoreUnavailableError, AccessDeniedError: it is not the file's fault.
        """
        if self._decoder is None:
            self._decoder = self._limits.decoder(side_px=1)
        image = Listed(ref["image_id"], ref["uri"], ref["size_bytes"], ref["version"])
        return self._decoder.probe(Ranges(image, self._bytes, Stopwatch()), kind)
