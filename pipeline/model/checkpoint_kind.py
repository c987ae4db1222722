"""What kind of file a checkpoint is, judged from its outside before torch reads any of it.

Two kinds are read: a plain zip archive as `torch.save` writes it, whose pickle names nothing but dense tensors and
dicts, and safetensors. TorchScript, exported programs (.pt2), tar and bare pickles run or rebuild more than numbers.
"""

import os
import pickletools
import re
import stat
import struct
import zipfile
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import CheckpointError

# Four times the largest published one; a training checkpoint with Adam's two moments is three times its model.
MAX_BYTES = 4 << 30
# The names and shapes of a model take 0.1 MB; reading either makes some ten times as much of Python objects.
MAX_DIRECTORY_BYTES = MAX_PICKLE_BYTES = 4 << 20

# A zip archive's end of directory, and what stands before it in torch's: the 64-bit end, and where that lies.
_END, _END_64, _LOCATOR = struct.Struct("<4s4H2LH"), struct.Struct("<4sQ2H2L4Q"), struct.Struct("<4sLQL")
_MEMBER = re.compile(
    r"[^/]+/(data\.pkl|data/\d+|version|byteorder|\.data/serialization_id|\.format_version|\.storage_alignment)"
)
_FOREIGN = (
    (re.compile(r"[^/]+/(code/|constants\.pkl)"), "a TorchScript program"),
    (re.compile(r"[^/]+/(archive_format|models/)|serialized_"), "an exported program (.pt2)"),
)
# All that a pickle of dense tensors names. torch.load would also rebuild sparse ones, whose indices it does not check.
_NAMES = frozenset(
    {
        "collections OrderedDict",
        "torch._utils _rebuild_tensor_v2",
        "torch._utils _rebuild_parameter",
        *(
            f"torch {kind}Storage"
            for kind in ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
        ),
    }
)


def check_size(size_bytes: int | None, shown: str) -> None:
    """Refuse what is larger than any checkpoint.

    Raises:
        CheckpointError: with its size and the largest that is read.
    """
    if size_bytes is not None and size_bytes > MAX_BYTES:
        raise CheckpointError(f"{shown} has {size_bytes:,} bytes; a checkpoint has at most {MAX_BYTES:,}")


def regular_file(path: Path, shown: str) -> os.stat_result:
    """The status of a file that can be read to its end, links followed: no folder, and no pipe or device.

    Raises:
        CheckpointError: it is not there, something else, or larger than any checkpoint.
    """
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        reason = "" if isinstance(error, FileNotFoundError) else f": {getattr(error, 'strerror', None) or error}"
        raise CheckpointError(f"there is no checkpoint file {shown}{reason}; look at the path") from None
    if not stat.S_ISREG(status.st_mode):
        raise CheckpointError(f"{shown} is not a regular file, and only those are read as checkpoints")
    check_size(status.st_size, shown)
    return status


def check_kind(path: Path, shown: str) -> None:
    """Refuse a file that is not of a kind that is read, without making an object of what it describes.

    Args:
        path: a local file; the ending `.safetensors` stands for that format, any other for torch's.
        shown: what to call it in errors.

    Raises:
        CheckpointError: not there, not a regular file, too large, of another kind, or damaged.
    """
    status = regular_file(path, shown)
    if path.suffix != ".safetensors":
        reason = _complaint(path, status.st_size, status.st_mtime_ns)
        if reason:
            raise CheckpointError(f"{shown} {reason}")


@lru_cache(maxsize=64)
def _complaint(path: Path, size_bytes: int, _mtime_ns: int) -> str | None:
    """What is wrong with a file in torch's format; None if nothing is. Found once for a file that does not change."""
    try:
        with path.open("rb") as file:
            return _outside(file, size_bytes) or _inside(file, size_bytes)
    # What zipfile and pickletools raise on bytes that are neither an archive nor a pickle.
    except (OSError, zipfile.BadZipFile, ValueError, EOFError, RuntimeError, struct.error) as error:
        return f"is damaged or not a checkpoint: {str(error).strip() or type(error).__name__}"


def _outside(file: BinaryIO, size_bytes: int) -> str | None:
    """Judge the first and last bytes: an archive that fills its file, with a directory of bounded size."""
    head = file.read(512)
    if head.startswith(b"\x80") or head[257:262] == b"ustar":
        return (
            "is in a format of torch before 1.6, or a bare pickle, which is not read; load it where you trust it and "
            "save it anew with torch.save"
        )
    ends_bytes = _END_64.size + _LOCATOR.size + _END.size
    file.seek(max(0, size_bytes - ends_bytes))
    tail = file.read()
    whole = head.startswith(b"PK\x03\x04") and len(tail) == ends_bytes and tail[-_END.size :].startswith(b"PK\x05\x06")
    if not whole:
        return "is damaged or not a checkpoint: it is not a whole zip archive as torch.save writes it"
    directory_bytes, directory_at = _END.unpack(tail[-_END.size :])[5:7]
    if tail[_END_64.size :].startswith(b"PK\x06\x07"):  # then readers go by the 64-bit end
        directory_bytes, directory_at = _END_64.unpack(tail[: _END_64.size])[8:10]
    else:
        ends_bytes = _END.size
    if directory_at + directory_bytes + ends_bytes != size_bytes or directory_bytes > MAX_DIRECTORY_BYTES:
        return "is damaged or not a checkpoint: its directory is not that of an archive that torch.save writes"
    return None


def _inside(file: BinaryIO, size_bytes: int) -> str | None:
    """Judge the members by the directory, then their checksums, then the names in the pickle."""
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        names = [member.filename for member in members]
        for pattern, kind in _FOREIGN:
            if any(pattern.match(name) for name in names):
                return f"is {kind}, which is never run; give a checkpoint of weights"
        if any(member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1 for member in members):
            return "is not a checkpoint: it holds compressed or encrypted members, and torch.save writes none"
        stranger = next((name for name in names if not _MEMBER.fullmatch(name)), None)
        if stranger is not None or len(set(names)) < len(names) or len({name.split("/")[0] for name in names}) != 1:
            return f"is not a checkpoint: its member {stranger or names[0]!r} is not one that torch.save writes"
        if sum(member.file_size for member in members) > size_bytes:
            return "is not a checkpoint: its members lie over each other"
        pickled = next((member for member in members if member.filename.endswith("/data.pkl")), None)
        if pickled is None or pickled.file_size > MAX_PICKLE_BYTES:
            return f"is not a checkpoint: it has no data.pkl of at most {MAX_PICKLE_BYTES:,} bytes"
        broken = archive.testzip()
        return f"is damaged: the checksum of {broken} is wrong" if broken else _stranger(archive.read(pickled))


def _stranger(pickled: bytes) -> str | None:
    """The first name in a pickle that no checkpoint of dense tensors has; the pickle is not run."""
    for operation, argument, _ in pickletools.genops(pickled):
        name = argument if operation.name in ("GLOBAL", "INST") else operation.name
        if operation.name in ("GLOBAL", "INST", "STACK_GLOBAL", "EXT1", "EXT2", "EXT4") and name not in _NAMES:
            if "_rebuild_" in str(name):
                return f"holds a tensor that is not dense ({name}); sparse, quantized and empty ones are not read"
            return f"holds code, which is never run ({name}); give a checkpoint as SAM 2 publishes it"
    return None
