"""What a listing says of one file."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A listed file: name below the folder, bytes, what changes when the file does, and when it last did.

    Attributes:
        modified_s: by the store's own clock, seconds since 1970; 0 where the store does not say.
    """

    name: str
    size_bytes: int
    version: str
    modified_s: float = 0.0
