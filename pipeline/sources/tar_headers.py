"""The headers of a tar file, each checked before it is believed; of its members' data nothing is read.

A block is parsed by the standard library, the way from one to the next is ours: `tarfile` keeps every member it has
met, reads extended headers whole however long they are, and in some versions of Python walks in circles where a size
is negative.
"""

import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

Read = Callable[[int, int], bytes]
"""Gives the bytes from one offset to before another, as many as there are."""

_BLOCK = tarfile.BLOCKSIZE
# A path of 4 KiB is the most that systems know; attributes of files may take more, and come in the same header.
_MAX_NAME_BYTES = 4096
_MAX_EXTENDED_BYTES = 1 << 20
_PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_GLOBAL_OR_LINK_NAME = (tarfile.XGLTYPE, tarfile.GNUTYPE_LONGLINK)
# Where GNU's sparse headers say whether another block of them follows: in the first one, in all others.
_FIRST_SPARSE_FLAG, _NEXT_SPARSE_FLAG = 482, 504
_KINDS = {
    tarfile.LNKTYPE: "links",
    tarfile.SYMTYPE: "links",
    tarfile.CHRTYPE: "devices and pipes",
    tarfile.BLKTYPE: "devices and pipes",
    tarfile.FIFOTYPE: "devices and pipes",
    tarfile.GNUTYPE_SPARSE: "sparse files",
}
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}


class DamagedShardError(Exception):
    """From here on nobody knows what the file holds; the message says where that is, and why."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member that is no folder.

    Attributes:
        name: its path, as the archive has it; bytes that are not UTF-8 are surrogates.
        start: offset of the first byte of its data.
        end: offset after the last one.
        refusal: what it is instead of a plain file with a plain name, in the plural; None for what may be read.
    """

    name: str
    start: int
    end: int
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class _Extended:
    """What extended headers say of the member that comes next."""

    name: str | None = None
    size_bytes: int | None = None
    refusal: str | None = None


@dataclass
class _Walk:
    read: Read
    size_bytes: int
    offset: int = 0
    extended: _Extended = field(default_factory=_Extended)


def members(read: Read, size_bytes: int) -> Iterator[Member]:
    """The members of a tar file in its order; each step takes it at least a block further.

    Args:
        read: of the file.
        size_bytes: its size.

    Raises:
        DamagedShardError: it does not go on like a tar file.
    """
    walk = _Walk(read, size_bytes)
    while (info := _header(walk)) is not None:
        data = walk.offset + _BLOCK
        if info.type in _PAX:
            walk.extended = _pax(walk.extended, *_blob(read, data, info.size))
        elif info.type == tarfile.GNUTYPE_LONGNAME:
            walk.extended = _long_name(walk.extended, *_blob(read, data, info.size))
        elif info.type not in _GLOBAL_OR_LINK_NAME:
            member = _member(walk, info, data)
            if member.end > size_bytes:
                told = f"it ends at byte {size_bytes}, within {_shown(member.name)}, which ends at byte {member.end}"
                raise DamagedShardError(f"{told}; what came after it is not known")
            if info.type != tarfile.DIRTYPE:
                yield member
            walk.offset, walk.extended = _padded(member.end), _Extended()
            continue
        walk.offset = data + _padded(info.size)


def _header(walk: _Walk) -> tarfile.TarInfo | None:
    """The header at the walk's offset; None at the mark of the end."""
    block = walk.read(walk.offset, walk.offset + _BLOCK)
    if len(block) < _BLOCK:
        raise DamagedShardError(f"it ends at byte {walk.size_bytes} without the mark of an archive's end")
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
        return None
    except (tarfile.HeaderError, ValueError) as error:
        packed = next((name for magic, name in _COMPRESSED.items() if block.startswith(magic)), None)
        if packed is not None and walk.offset == 0:
            raise DamagedShardError(f"it is compressed ({packed}), so it has no byte ranges: decompress it") from None
        raise DamagedShardError(f"there is no header at byte {walk.offset}: {error}") from None
    if info.size < 0:
        raise DamagedShardError(f"the header at byte {walk.offset} claims {info.size} bytes")
    return info


def _member(walk: _Walk, info: tarfile.TarInfo, data: int) -> Member:
    extended, refusal = walk.extended, _KINDS.get(info.type)
    if info.type == tarfile.GNUTYPE_SPARSE:
        data = _after_sparse_blocks(walk.read, walk.offset, data)
    has_data = info.isreg() or info.type not in tarfile.SUPPORTED_TYPES
    size_bytes = info.size if extended.size_bytes is None else extended.size_bytes
    if refusal is None and not info.isreg():
        refusal = "members of unknown types"
    name = info.name if extended.name is None else extended.name
    refusal = extended.refusal or refusal or _refusal_of(name)
    return Member(name, data, data + (size_bytes if has_data else 0), refusal)


def _after_sparse_blocks(read: Read, offset: int, data: int) -> int:
    """Where the data of a sparse file begins: after blocks that say where its holes are."""
    goes_on = read(offset, data)[_FIRST_SPARSE_FLAG]
    while goes_on:
        block = read(data, data + _BLOCK)
        if len(block) < _BLOCK:
            raise DamagedShardError(f"it ends at byte {data + len(block)}, within the map of a sparse file")
        goes_on = block[_NEXT_SPARSE_FLAG]
        data += _BLOCK
    return data


def _refusal_of(name: str) -> str | None:
    if name.startswith("/") or ".." in name.split("/"):
        return "paths that lead out of the archive"
    if not name or "\0" in name:
        return "paths that name nothing"
    if len(name.encode("utf-8", "surrogateescape")) > _MAX_NAME_BYTES:
        return "paths that are too long"
    return None


def _blob(read: Read, start: int, size_bytes: int) -> tuple[bytes, bool]:
    """The data of an extended header, and whether that is all of it: one that is too long is not read."""
    if size_bytes > _MAX_EXTENDED_BYTES:
        return b"", False
    data = read(start, start + size_bytes)
    return data, len(data) == size_bytes


def _long_name(extended: _Extended, data: bytes, is_whole: bool) -> _Extended:
    if not is_whole:
        return replace(extended, refusal="members with headers that are too long")
    return replace(extended, name=data.split(b"\0", 1)[0].decode("utf-8", "surrogateescape"))


def _pax(extended: _Extended, data: bytes, is_whole: bool) -> _Extended:
    """What records of `length key=value` say, one after the other."""
    if not is_whole:
        return replace(extended, refusal="members with headers that are too long")
    try:
        for key, value in _records(data):
            if key == b"path":
                extended = replace(extended, name=value.decode("utf-8", "surrogateescape"))
            elif key == b"size":
                extended = replace(extended, size_bytes=_count(value))
            elif key.startswith(b"GNU.sparse."):
                extended = replace(extended, refusal="sparse files")
    except ValueError:
        return replace(extended, refusal="members with headers that cannot be read")
    return extended


def _records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 0
    while place < len(data) and data[place]:
        space = data.find(b" ", place, place + 20)
        end = place + _count(data[place:space])
        if not place < space < end <= len(data) or data[end - 1 : end] != b"\n":
            raise ValueError(place)
        key, _, value = data[space + 1 : end - 1].partition(b"=")
        yield key, value
        place = end


def _count(digits: bytes) -> int:
    if not digits.isdigit() or len(digits) > 18:
        raise ValueError(digits[:20])
    return int(digits)


def _padded(size_bytes: int) -> int:
    return -(-size_bytes // _BLOCK) * _BLOCK


def _shown(name: str) -> str:
    return ascii(name[:200])
