"""Walking the headers of tars: what the standard library writes is found, what is hostile is refused, and all end."""

import tarfile
import tracemalloc
from pathlib import Path

import pytest

from pipeline.sources.tar_headers import DamagedShardError, Member, members
from tests.tars import BLOCK, END, header, member, padded, pax, record, write_tar


def walk(data: bytes) -> list[Member]:
    return list(members(lambda start, end: data[start:end], len(data)))


def refusals(data: bytes) -> dict[str, str | None]:
    return {each.name: each.refusal for each in walk(data)}


# What the standard library writes

NAMES = ["a.jpg", "folder/b.jpg", "é😀.png", "n" * 90 + "/" + "m" * 90 + ".jpg", "long/" * 60 + "c.jpg", "./d.jpg"]


@pytest.mark.parametrize("tar_format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT], ids=["pax", "gnu"])
def test_every_member_is_found_where_tarfile_finds_it(tmp_path: Path, tar_format: int):
    contents = {name: name.encode() * (number * 50) for number, name in enumerate(NAMES)}
    write_tar(tmp_path / "a.tar", contents, tar_format)
    data = (tmp_path / "a.tar").read_bytes()
    found = walk(data)
    assert [(each.name, each.refusal) for each in found] == [(name, None) for name in NAMES]
    assert [data[each.start : each.end] for each in found] == list(contents.values())
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert [each.start for each in found] == [each.offset_data for each in tar.getmembers()]


def test_folders_and_what_comes_after_the_mark_of_the_end_are_nothing():
    assert walk(header("folder/", 0, tarfile.DIRTYPE) + END + member("after.jpg")) == []


def test_a_name_that_is_not_utf_8_keeps_its_bytes():
    data = header("x.jpg", at={0: 0xE9}) + END
    assert walk(data)[0].name.encode("utf-8", "surrogateescape") == b"\xe9.jpg"


def test_an_extended_header_says_name_and_size_of_its_member_alone():
    size = record("size", str(BLOCK)) + record("path", "né.jpg") + record("mtime", "1.5")
    data = pax(size) + header("short", 0) + b"x" * BLOCK + member("next.jpg") + END
    assert [(each.name, each.end - each.start) for each in walk(data)] == [("né.jpg", BLOCK), ("next.jpg", 4)]


def test_a_global_header_and_a_link_name_say_nothing():
    data = header("g", 20, tarfile.XGLTYPE) + padded(b"x" * 20) + header("k", 9, tarfile.GNUTYPE_LONGLINK)
    assert refusals(data + padded(b"y" * 9) + member("a.jpg") + END) == {"a.jpg": None}


# What is hostile


@pytest.mark.parametrize(
    ("data", "name", "refusal"),
    [
        (member("../../etc/passwd"), "../../etc/passwd", "paths that lead out of the archive"),
        (member("a/../b.jpg"), "a/../b.jpg", "paths that lead out of the archive"),
        (member("/etc/passwd"), "/etc/passwd", "paths that lead out of the archive"),
        (member(""), "", "paths that name nothing"),
        (pax(record("path", "a\0b.jpg")) + member("x"), "a\0b.jpg", "paths that name nothing"),
        (pax(record("path", "n" * 5000)) + member("x"), "n" * 5000, "paths that are too long"),
        (header("l.jpg", 0, tarfile.LNKTYPE), "l.jpg", "links"),
        (header("l.jpg", 700, tarfile.SYMTYPE), "l.jpg", "links"),
        (header("d.jpg", 0, tarfile.CHRTYPE), "d.jpg", "devices and pipes"),
        (header("d.jpg", 0, tarfile.BLKTYPE), "d.jpg", "devices and pipes"),
        (header("p.jpg", 0, tarfile.FIFOTYPE), "p.jpg", "devices and pipes"),
        (header("s.jpg", 4, tarfile.GNUTYPE_SPARSE) + padded(b"data"), "s.jpg", "sparse files"),
        (pax(record("GNU.sparse.major", "1")) + member("s.jpg"), "s.jpg", "sparse files"),
        (header("v", 4, b"V") + padded(b"data"), "v", "members of unknown types"),
        (pax(b"999999999999 path=a\n") + member("x"), "x", "members with headers that cannot be read"),
        (pax(b"5 path=a.jpg\n") + member("x"), "x", "members with headers that cannot be read"),
        (pax(record("size", "-512")) + member("x"), "x", "members with headers that cannot be read"),
        (pax(b"1" * 100_000) + member("x"), "x", "members with headers that cannot be read"),
    ],
)
def test_what_is_no_plain_file_is_passed_over_with_its_reason_and_the_next_is_found(data, name, refusal):
    assert refusals(data + member("next.jpg") + END) == {name: refusal, "next.jpg": None}


def test_sparse_maps_of_many_blocks_are_passed_over():
    maps = (b"\0" * 504 + b"\1" + b"\0" * 7) * 3 + b"\0" * BLOCK
    first = header("s.jpg", 4, tarfile.GNUTYPE_SPARSE, at={482: 1})
    assert refusals(first + maps + padded(b"data") + member("next.jpg") + END)["next.jpg"] is None
    with pytest.raises(DamagedShardError, match="within the map of a sparse file"):
        walk(first + maps[:BLOCK])


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME], ids=["pax", "long name"])
def test_a_header_of_a_gigabyte_is_not_read(kind: bytes):
    start = header("bomb", 1 << 30, kind)
    end = len(start) + (1 << 30)
    rest = member("named.jpg") + member("next.jpg") + END
    longest = 0

    def read(first: int, last: int) -> bytes:
        nonlocal longest
        longest = max(longest, last - first)
        return start[first:last] if first < end else rest[first - end : last - end]

    found = list(members(read, end + len(rest)))
    assert [(each.name, each.refusal) for each in found] == [
        ("named.jpg", "members with headers that are too long"),
        ("next.jpg", None),
    ]
    assert longest == BLOCK


@pytest.mark.parametrize("size", [-1, -BLOCK, -(1 << 40)])
def test_a_negative_size_ends_the_walk(size: int):
    field = size.to_bytes(12, "big", signed=True)
    for kind in (tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.LNKTYPE):
        with pytest.raises(DamagedShardError, match=f"the header at byte {2 * BLOCK} claims {size} bytes"):
            walk(member("a.jpg") + header("x", 0, kind, size_field=field) + END)


def test_a_size_beyond_all_numbers_ends_the_walk():
    data = header("a.jpg", 0, size_field=b"\x80" + b"\xff" * 11) + END
    with pytest.raises(DamagedShardError, match=r"it ends at byte 1536, within 'a\.jpg'"):
        walk(data)


def test_ten_thousand_headers_that_only_announce_others_take_no_stack_and_no_memory():
    long_name = header("l", 9, tarfile.GNUTYPE_LONGNAME) + padded(b"name.jpg\0")
    data = long_name * 10_000 + member("x") + END
    tracemalloc.start()
    assert [each.name for each in members(lambda start, end: data[start:end], len(data))] == ["name.jpg"]
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


# What is damaged


def until_damage(data: bytes) -> tuple[list[str], str]:
    """The members before the damage, and what is said of it."""
    found, walked = [], members(lambda start, end: data[start:end], len(data))
    while True:
        try:
            found.append(next(walked).name)
        except DamagedShardError as error:
            return found, str(error)


def test_a_tar_cut_anywhere_gives_what_comes_before_the_cut_and_says_where_it_was():
    whole = member("a.jpg", b"a" * 600) + member("b.jpg")
    for cut in range(0, len(whole) + 1, 100):
        found, said = until_damage(whole[:cut])
        assert found == ["a.jpg"] * (cut >= BLOCK + 600) + ["b.jpg"] * (cut >= 4 * BLOCK + 4)
        assert said.startswith(f"it ends at byte {cut}")
    assert "within 'a.jpg', which ends at byte 1112; what came after it is not known" in until_damage(whole[:600])[1]


def test_a_header_with_a_flipped_bit_ends_the_walk():
    data = bytearray(member("a.jpg") + member("b.jpg") + END)
    data[2 * BLOCK + 3] ^= 1
    walked = members(lambda start, end: bytes(data[start:end]), len(data))
    assert next(walked).name == "a.jpg"
    with pytest.raises(DamagedShardError, match=f"there is no header at byte {2 * BLOCK}: bad checksum"):
        next(walked)


@pytest.mark.parametrize(
    ("start", "said"), [(b"\x1f\x8b", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ", "xz"), (b"text", "no header")]
)
def test_what_is_no_tar_is_said_to_be_none(start: bytes, said: str):
    with pytest.raises(DamagedShardError, match=said):
        walk(start + b"x" * 2000)
