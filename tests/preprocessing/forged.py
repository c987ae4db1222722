"""Image files and colour profiles put together byte by byte, so that what they must look like is known beforehand."""

import itertools
import math
import struct
import zlib
from collections.abc import Callable, Sequence

# sRGB's primaries, adapted to the D50 white of profiles: X, Y, Z of red, green and blue (Lindbloom, "sRGB, D50").
SRGB_PRIMARIES = (
    (0.4360747, 0.2225045, 0.0139322),
    (0.3850649, 0.7168786, 0.0971045),
    (0.1430804, 0.0606169, 0.7141733),
)
_D50 = (0.9642, 1.0, 0.8249)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    size: tuple[int, int], rows: Sequence[bytes] = (), *, bits: int = 8, colour: int = 2, chunks: Sequence[bytes] = ()
) -> bytes:
    """A PNG whose header says what it likes; `colour` 0 is grey, 2 RGB, 3 a palette, 4 grey and 6 RGB with alpha."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", *size, bits, colour, 0, 0, 0))
    body = png_chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + body + png_chunk(b"IEND", b"")


def tiff(entries: dict[int, int | Sequence[int]], pixels: bytes = b"", *, order: str = "<", follows: int = 0) -> bytes:
    """A TIFF of one strip: its directory at 8, which names `follows` as the next; every value takes 32 bits."""
    given = {262: 1, 259: 1, 277: 1, **entries, 273: entries.get(273, 0), 279: entries.get(279, len(pixels))}
    lists = {tag: [value] if isinstance(value, int) else list(value) for tag, value in sorted(given.items())}
    place = 8 + 2 + 12 * len(lists) + 4
    directory, after = struct.pack(order + "H", len(lists)), b""
    offsets = {}
    for tag, values in lists.items():
        if len(values) > 1:
            offsets[tag] = place + len(after)
            after += struct.pack(f"{order}{len(values)}I", *values)
    strip = entries.get(273, place + len(after))
    for tag, values in lists.items():
        value = strip if tag == 273 else offsets.get(tag, values[0])
        directory += struct.pack(order + "HHII", tag, 4, len(values), value)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    return head + directory + struct.pack(order + "I", follows) + after + pixels


def flat_jpeg(values: Sequence[int], *, adobe_transform: int | None = None, size: tuple[int, int] = (8, 8)) -> bytes:
    """A baseline JPEG of one block of one colour, whose components are stored as `values` exactly."""

    def segment(marker: int, data: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data

    adobe = (
        b"" if adobe_transform is None else segment(0xEE, b"Adobe" + struct.pack(">HHHB", 100, 0, 0, adobe_transform))
    )
    numbers = range(1, len(values) + 1)
    frame = struct.pack(">BHHB", 8, size[1], size[0], len(values)) + b"".join(bytes([n, 0x11, 0]) for n in numbers)
    dc = bytes([0, 0, 0, 0, 12, *[0] * 12, *range(12)])  # twelve codes of four bits, in order
    ac = bytes([0x10, 1, *[0] * 15, 0])  # one code, of one bit: the block ends
    scan = bytes([len(values), *itertools.chain(*((n, 0) for n in numbers)), 0, 63, 0])
    bits = "".join(_dc_bits(8 * (value - 128)) + "0" for value in values)
    bits += "1" * (-len(bits) % 8)
    body = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    tables = segment(0xDB, b"\0" + bytes([1] * 64)) + segment(0xC0, frame) + segment(0xC4, dc) + segment(0xC4, ac)
    return b"\xff\xd8" + adobe + tables + segment(0xDA, scan) + body + b"\xff\xd9"


def _dc_bits(difference: int) -> str:
    length = abs(difference).bit_length()
    shown = difference if difference >= 0 else difference + (1 << length) - 1
    return f"{length:04b}" + (f"{shown:0{length}b}" if length else "")


def gif(size: tuple[int, int], frames: Sequence[bytes], palette: bytes = b"\0\0\0\xff\xff\xff") -> bytes:
    bits = int(math.log2(len(palette) // 3)) - 1
    return b"GIF89a" + struct.pack("<HHBBB", *size, 0x80 | bits, 0, 0) + palette + b"".join(frames) + b";"


def gif_frame(
    box: tuple[int, int, int, int], colour: int, *, disposal: int = 0, transparent: int | None = None
) -> bytes:
    """A frame of one colour out of at most two, at left, top, width, height; not compressed."""
    flags = disposal << 2 | (transparent is not None)
    control = b"!\xf9\x04" + struct.pack("<BHBB", flags, 10, transparent or 0, 0)
    codes = []
    for place in range(box[2] * box[3]):
        codes += [4] if place % 2 == 0 else []  # start over before codes grow to four bits
        codes.append(colour)
    bits = "".join(f"{code:03b}" for code in reversed([*codes, 5]))
    data = int(bits, 2).to_bytes(-(-len(bits) // 8), "little")
    parts = [data[start : start + 255] for start in range(0, len(data), 255)]
    return (
        control + b"," + struct.pack("<HHHHB", *box, 0) + b"\x02" + b"".join(bytes([len(p)]) + p for p in parts) + b"\0"
    )


def srgb_to_linear(share: float) -> float:
    """The light of a value, both 0 to 1, by IEC 61966-2-1."""
    return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4


def linear_to_srgb(light: float) -> float:
    """The value that gives such light."""
    return light * 12.92 if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055


def gamma_curve(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))


def srgb_curve() -> bytes:
    lights = [round(65535 * srgb_to_linear(step / 1023)) for step in range(1024)]
    return b"curv\0\0\0\0" + struct.pack(">I1024H", 1024, *lights)


def rgb_profile(primaries: Sequence[tuple[float, float, float]], curve: bytes, name: str = "forged") -> bytes:
    tags = {key: _xyz(value) for key, value in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True)}
    return _profile(b"mntr", b"RGB ", b"XYZ ", {**tags, b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}, name=name)


def grey_profile(curve: bytes) -> bytes:
    return _profile(b"mntr", b"GRAY", b"XYZ ", {b"kTRC": curve})


def cmyk_profile(lightness: Callable[..., float]) -> bytes:
    """Of grey inks: `lightness` gives L*, 0 to 100, for each of the 16 ways to print C, M, Y and K in full or not."""
    inks = itertools.product((0, 1), repeat=4)
    nodes = b"".join(bytes([round(lightness(*each) * 2.55), 128, 128]) for each in inks)
    identity = struct.pack(">9i", *(65536 * (place in (0, 4, 8)) for place in range(9)))
    straight = bytes(range(256))
    return _profile(
        b"prtr",
        b"CMYK",
        b"Lab ",
        {b"A2B0": b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + identity + straight * 4 + nodes + straight * 3},
    )


def _xyz(values: tuple[float, float, float]) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))


def _profile(kind: bytes, space: bytes, connection: bytes, tags: dict[bytes, bytes], *, name: str = "forged") -> bytes:
    text = name.encode() + b"\0"
    described = b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78)
    given = {b"desc": described, b"wtpt": _xyz(_D50), **tags}
    table, body = struct.pack(">I", len(given)), b""
    begin = 128 + 4 + 12 * len(given)
    for tag, data in given.items():
        table += tag + struct.pack(">II", begin + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    whole = begin + len(body)
    head = struct.pack(">I4sI4s4s4s12s4s", whole, b"\0" * 4, 0x02400000, kind, space, connection, bytes(12), b"acsp")
    head += bytes(28) + _xyz(_D50)[8:]
    return head + bytes(128 - len(head)) + table + body
