"""Whether a local disk has room for what a run writes."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pipeline.errors import SinkError
from pipeline.observability.amounts import size_text
from pipeline.storage.folder import Folder


@dataclass(frozen=True)
class Room:
    """What a disk has left for this user: bytes and names (None: as many as fit)."""

    uri: str
    free_bytes: int
    free_files: int | None

    @classmethod
    def of(cls, root: Folder) -> Self | None:
        """The room there is where the folder is or will be; None of an object store, which has no end."""
        if not root.is_local:
            return None
        wanted = Path(root.uri)
        place = next(path for path in (wanted, *wanted.parents) if path.exists())
        found = os.statvfs(place)
        # Some file systems make names as they are needed, and say that there are none.
        return cls(root.uri, found.f_bavail * found.f_frsize, found.f_favail if found.f_files else None)

    def require(self, size_bytes: int, num_files: int) -> None:
        """Refuses what does not fit.

        Raises:
            SinkError: says what is needed and what there is.
        """
        if size_bytes > self.free_bytes:
            raise SinkError(
                f"the disk of {self.uri} is too small: the features take {size_text(size_bytes)}, and "
                f"{size_text(self.free_bytes)} are free. Free some, give another sink.uri, or store less: "
                "features=decoder or embed, features.storage_dtype=int8"
            )
        if self.free_files is not None and num_files > self.free_files:
            raise SinkError(
                f"the disk of {self.uri} has too few inodes: {num_files:,} files are to be written, and "
                f"{self.free_files:,} more fit. Give another sink.uri, or larger units: execution.images_per_unit"
            )
