"""What a listing says of one file, and of one upload that is not a file yet."""

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


@dataclass(frozen=True, slots=True)
class UnfinishedUpload:
    """Parts of a file that an object store keeps, and bills, although the file has not come to be.

    Attributes:
        name: of the file, below the folder.
        token: what the store calls the upload.
        begun_s: by the store's own clock, seconds since 1970.
    """

    name: str
    token: str
    begun_s: float
