"""Ways to spoil a good image, from single bits to lengths that lie; the same seed spoils it the same way."""

import random
import re
import struct
import zlib
from collections.abc import Sequence

_NAME = re.compile(rb"[A-Za-z][A-Za-z0-9]{3}")  # of a chunk or a box
_HEAD_BYTES = 64
_NUMBERS = (0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 2**31 - 1, 2**31, 2**32 - 1)


def mutated(originals: Sequence[bytes], chance: random.Random) -> bytes:
    """One of the originals, spoiled in one to three ways; checksums of a PNG are mostly made good again."""
    data = bytearray(chance.choice(originals))
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        chance.choice(_WAYS)(data, chance, originals)
    if data.startswith(b"\x89PNG") and chance.random() < 0.8:
        _mend_checksums(data)
    return bytes(data)


def _place(data: bytearray, chance: random.Random) -> int:
    """One time in four near the beginning, where headers are, without which nothing more is looked at."""
    end = len(data) if chance.random() < 0.75 else min(len(data), _HEAD_BYTES)
    return chance.randrange(max(end, 1))


def _flip_bits(data: bytearray, chance: random.Random, _: Sequence[bytes]) -> None:
    for _again in range(chance.choice((1, 1, 2, 8))):
        if data:
            data[_place(data, chance)] ^= 1 << chance.randrange(8)


def _overwrite(data: bytearray, chance: random.Random, _: Sequence[bytes]) -> None:
    place, length = _place(data, chance), chance.choice((1, 2, 4, 16, 64))
    filled = bytes([chance.randrange(256)]) * length if chance.random() < 0.5 else chance.randbytes(length)
    data[place : place + length] = filled[: max(0, len(data) - place)]


def _cut(data: bytearray, chance: random.Random, _: Sequence[bytes]) -> None:
    del data[_place(data, chance) :]


def _remove(data: bytearray, chance: random.Random, _: Sequence[bytes]) -> None:
    place = _place(data, chance)
    del data[place : place + chance.choice((1, 2, 4, 12, 40))]


def _repeat(data: bytearray, chance: random.Random, _: Sequence[bytes]) -> None:
    place = _place(data, chance)
    part = data[place : place + chance.choice((1, 4, 16, 64))]
    data[place:place] = part * chance.choice((1, 2, 20))


def _splice(data: bytearray, chance: random.Random, originals: Sequence[bytes]) -> None:
    other = chance.choice(originals)
    begin = chance.randrange(len(other))
    place = _place(data, chance)
    data[place : place + chance.choice((0, 16, len(data)))] = other[begin : begin + chance.choice((16, 64, len(other)))]


def _number(data: bytearray, chance: random.Random, _: Sequence[bytes]) -> None:
    """A number of a header becomes one at which something often breaks."""
    _write_number(data, _place(data, chance), chance)


def _lie(data: bytearray, chance: random.Random, _: Sequence[bytes]) -> None:
    """What a chunk or box says of its length, which stands before its name or after it."""
    found = [match.start() for match in _NAME.finditer(data)]
    if found:
        place = chance.choice(found)
        _write_number(data, max(0, place + chance.choice((-4, 4, 8, 12))), chance)


def _write_number(data: bytearray, place: int, chance: random.Random) -> None:
    code = chance.choice(("B", "<H", ">H", "<I", ">I"))
    size = struct.calcsize(code)
    if place + size <= len(data):
        value = chance.choice(_NUMBERS) + chance.choice((0, 0, 0, 1, -1))
        struct.pack_into(code, data, place, value % 256**size)


_WAYS = (_flip_bits, _overwrite, _cut, _remove, _repeat, _splice, _number, _number, _lie, _lie)


def _mend_checksums(data: bytearray) -> None:
    place = 8
    while place + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        end = place + 8 + length
        if end + 4 > len(data):
            return
        struct.pack_into(">I", data, end, zlib.crc32(data[place + 4 : end]))
        place = end + 4
