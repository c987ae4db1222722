"""Tar files for tests: honest ones by the standard library, and headers that it would not write."""

import io
import tarfile
from pathlib import Path

BLOCK = 512
END = b"\0" * 2 * BLOCK


def write_tar(path: Path, members: dict[str, bytes], tar_format: int = tarfile.PAX_FORMAT) -> None:
    """A tar of plain files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tar_format) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def header(
    name: str,
    size_bytes: int = 0,
    kind: bytes = tarfile.REGTYPE,
    *,
    size_field: bytes | None = None,
    at: dict[int, int] | None = None,
) -> bytes:
    """A header block with a right checksum.

    Args:
        name: of the member.
        size_bytes: of its data.
        kind: its type.
        size_field: the 12 bytes that say the size, where they are to say something else.
        at: bytes to set at offsets.
    """
    info = tarfile.TarInfo(name)
    info.size, info.type = size_bytes, kind
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")[-BLOCK:])
    if size_field is not None:
        block[124:136] = size_field
    for offset, value in (at or {}).items():
        block[offset] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padded(data: bytes) -> bytes:
    """Data as it lies in a tar."""
    return data + b"\0" * (-len(data) % BLOCK)


def member(name: str, data: bytes = b"data") -> bytes:
    """A plain file: header and data."""
    return header(name, len(data)) + padded(data)


def pax(records: bytes) -> bytes:
    """An extended header."""
    return header("pax", len(records), tarfile.XHDTYPE) + padded(records)


def record(key: str, value: str) -> bytes:
    """A record of an extended header."""
    rest = f" {key}={value}\n".encode()
    length = len(rest)
    while length != len(rest) + len(str(length)):
        length = len(rest) + len(str(length))
    return str(length).encode() + rest
