"""What a plan has to know of files before it can list their images: asked of a decoder process, which parses them."""

from collections.abc import Mapping
from typing import Any

from pipeline.errors import ImageError
from pipeline.execution.fetch import DecodeLimits, Listed, Ranges
from pipeline.observability.timing import Stopwatch
from pipeline.preprocessing.isolation import IsolatedDecoder
from pipeline.storage.trouble import PATIENCE_S


class Prober:
    """Asks about one file after the other; its process starts with the first.

    Args:
        kind: what to ask, see `decoder_requests.probe`.
        limits: of one file.
        patience_s: how long a store may be in trouble, in seconds, at each read.
    """

    def __init__(self, kind: str, *, limits: DecodeLimits, patience_s: float = PATIENCE_S) -> None:
        self._kind, self._limits, self._patience_s = kind, limits, patience_s
        self._decoder: IsolatedDecoder | None = None

    def __call__(self, ref: Mapping[str, Any]) -> Any:
        """What is found of the file that a ref is all of; None if it cannot be read or parsed.

        The reason is not kept: reading the file again for its quarantine row gives it, in the words of that time.

        Raises:
            StoreUnavailableError, AccessDeniedError: it is not the file's fault.
        """
        if self._decoder is None:
            self._decoder = IsolatedDecoder(
                side_px=1, timeout_s=self._limits.timeout_s, memory_bytes=self._limits.memory_bytes
            )
        image = Listed(ref["image_id"], ref["uri"], ref["size_bytes"], ref["version"])
        try:
            return self._decoder.probe(Ranges(image, self._patience_s, Stopwatch()), self._kind)
        except ImageError:
            return None
