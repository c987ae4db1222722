"""Images in rows of Parquet files: each is found, read on from the last one, and damage costs the rows that it hits."""

import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import ImageError
from pipeline.featureset.part import Part
from pipeline.preprocessing import parquet_rows
from pipeline.preprocessing.isolation import IsolatedDecoder
from pipeline.preprocessing.parquet_rows import answer, image_bytes
from pipeline.preprocessing.served_file import ServedFile

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
ROW_BYTES = 20_000


class Counted:
    """A file in memory that counts what is read of it."""

    def __init__(self, data: bytes) -> None:
        self.data, self.num_read = data, 0
        self.source = ServedFile(str(id(self)), len(data), self.ask)

    def ask(self, start: int, end: int) -> bytes:
        self.num_read += end - start
        return self.data[start:end]

    @property
    def key(self) -> str:
        """As its parent calls it."""
        return self.source.key

    @property
    def size_bytes(self) -> int:
        """Its size."""
        return len(self.data)

    def read(self, start: int, end: int) -> bytes:
        """As its parent reads it."""
        return self.ask(start, end)

    def image(self, row: int, column: str = "image.bytes") -> bytes:
        return image_bytes(self.source, Part(row=row, column=column))


def contents(count: int) -> list[bytes]:
    random = np.random.default_rng(0)
    return [random.bytes(ROW_BYTES) for _ in range(count)]


def written(table: pa.Table, **options: Any) -> bytes:
    stream = io.BytesIO()
    pq.write_table(table, stream, write_page_checksum=True, write_batch_size=4, data_page_size=ROW_BYTES, **options)
    return stream.getvalue()


def images_file(images: list[bytes | None], **options: Any) -> Counted:
    structs = pa.array([{"bytes": data, "path": f"{row}.png"} for row, data in enumerate(images)], IMAGE)
    table = pa.table({"image": structs, "label": pa.array(range(len(images)), pa.int16())})
    return Counted(written(table, compression="none", use_dictionary=False, **options))


def refused(file: Counted, row: int) -> tuple[str, str, str]:
    with pytest.raises(ImageError) as caught:
        file.image(row)
    return caught.value.stage, caught.value.error_type, caught.value.error_class


DAMAGED = ("fetch", "DamagedShard", "transient")


@pytest.mark.parametrize("rows", [range(40), [39, 0, 17, 16, 18, 5]], ids=["in order", "out of order"])
def test_a_row_is_its_image_whatever_was_read_before(rows):
    images = contents(40)
    file = images_file(images, row_group_size=15)
    assert [file.image(row) for row in rows] == [images[row] for row in rows]


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()], ids=str)
def test_plain_bytes_are_images_too(kind: pa.DataType):
    images = contents(3)
    file = Counted(written(pa.table({"png": pa.array(images, kind)})))
    assert [file.image(row, "png") for row in range(3)] == images


def test_rows_in_order_read_the_file_once_and_hold_little_of_it():
    images = contents(2000)
    file = images_file(images)
    before = pa.total_allocated_bytes()
    for row in range(0, 2000, 7):
        assert file.image(row) == images[row]
        assert pa.total_allocated_bytes() - before < 8 << 20
    assert file.num_read < len(file.data) + (3 << 20)


def test_a_row_without_bytes_says_so_and_its_neighbours_are_there():
    images = contents(3)
    file = images_file([images[0], None, b"", images[2]])
    null = Counted(written(pa.table({"image": pa.array([None, {"bytes": b"x", "path": None}], IMAGE)})))
    assert refused(file, 1) == refused(file, 2) == refused(null, 0) == ("fetch", "NoImageBytes", "permanent")
    assert (file.image(0), file.image(3), null.image(1)) == (images[0], images[2], b"x")


def test_a_value_of_more_than_256_mib_is_refused_and_its_neighbours_are_there():
    size_bytes = (256 << 20) + 1
    offsets = np.array([0, 1, 1 + size_bytes, 2 + size_bytes], np.int32)
    values = pa.BinaryArray.from_buffers(
        pa.binary(), 3, [None, pa.py_buffer(offsets), pa.py_buffer(np.zeros(size_bytes + 2, np.uint8))]
    )
    stream = io.BytesIO()
    options = {"compression": "zstd", "use_dictionary": False, "write_statistics": False, "row_group_size": 1}
    pq.write_table(pa.table({"png": values}), stream, **options)
    file = Counted(stream.getvalue())
    assert len(file.data) < 1 << 20
    with pytest.raises(ImageError, match=r"has 268435457 bytes in png, 268435456 are allowed") as caught:
        file.image(1, "png")
    assert (caught.value.error_type, caught.value.error_class) == ("FileTooLarge", "permanent")
    assert [file.image(row, "png") for row in (0, 2)] == [b"\0", b"\0"]


def test_a_damaged_page_costs_the_rows_from_it_to_the_end_of_its_group_in_any_order():
    images = contents(40)
    file = images_file(images, row_group_size=20)
    data = bytearray(file.data)
    data[file.data.index(images[10]) + 100] ^= 1
    for rows in (range(40), reversed(range(40))):
        file = Counted(bytes(data))
        bad = []
        for row in rows:
            try:
                assert file.image(row) == images[row]
            except ImageError:
                assert refused(file, row) == DAMAGED
                bad.append(row)
        assert set(range(10, 20)) <= set(bad) <= set(range(8, 20)), "a page here holds up to two of them"


def test_damage_that_was_met_is_not_read_again():
    images = contents(200)
    file = images_file(images)
    data = bytearray(file.data)
    data[file.data.index(images[150]) + 100] ^= 1
    file = Counted(bytes(data))
    for row in range(150, 200):
        refused(file, row)
    assert file.num_read < 4 * len(data)


@pytest.mark.parametrize("cut", [0, 3, 100, -1, -9])
def test_what_is_no_parquet_file_is_damaged(cut: int):
    data = images_file(contents(2)).data
    assert refused(Counted(data[:cut]), 0) == DAMAGED


def test_a_row_that_the_file_does_not_have_is_damage():
    assert refused(images_file(contents(2)), 2)[:2] == ("fetch", "DamagedShard")
    with pytest.raises(ImageError, match="cannot be read"):
        images_file(contents(2)).image(0, "nothing.bytes")


def test_only_the_last_file_is_kept():
    for _ in range(3):
        file = images_file(contents(1))
        file.image(0)
        assert list(parquet_rows._last) == [file.source.key]  # noqa: SLF001  nothing else would tell


# What plans ask


def test_a_file_tells_its_columns_and_rows():
    table = pa.table(
        {
            "image": pa.array([{"bytes": b"x", "path": "a"}] * 5, IMAGE),
            "thumbnail": pa.array([b"y"] * 5),
            "label": pa.array(range(5), pa.uint8()),
            "score": pa.array([0.5, None, 1, 2, 3], pa.float32()),
            "is_good": pa.array([True] * 5),
            "caption": pa.array(["é"] * 5).dictionary_encode(),
            "day": pa.array([0] * 5, pa.date32()),
            "boxes": pa.array([[1.0]] * 5),
            "dotted.name": pa.array(range(5)),
        }
    )
    file = Counted(written(table, row_group_size=2))
    kinds = {"image.path": "text", "label": "integer", "score": "float", "is_good": "boolean", "caption": "text"}
    assert answer(file.source, {}) == {
        "groups": [2, 2, 1],
        "columns": {**kinds, "day": "text"},
        "images": ["image.bytes", "thumbnail"],
    }
    asked = ["caption", "day", "image.path", "is_good", "label", "score"]
    found = answer(file.source, {"group": 0, "columns": asked})
    assert json.loads(json.dumps(found)) == {
        "caption": ["é", "é"],
        "day": ["1970-01-01", "1970-01-01"],
        "image.path": ["a", "a"],
        "is_good": [True, True],
        "label": [0, 1],
        "score": [0.5, None],
    }


def test_planning_reads_no_images():
    images = contents(200)
    file = images_file(images, row_group_size=100)
    answer(file.source, {})
    answer(file.source, {"group": 0, "columns": ["label", "image.path"]})
    blocks = 3 << 20
    assert len(file.data) > blocks
    assert file.num_read <= blocks


def ask(file: Counted, question: dict[str, Any]) -> str:
    with pytest.raises(ImageError) as caught:
        answer(file.source, question)
    assert caught.value.error_type == "DamagedShard"
    return str(caught.value)


@pytest.fixture(scope="module")
def decoder() -> Iterator[IsolatedDecoder]:
    """Where such files are parsed: in this process Ray may have taught Arrow its own types."""
    decoder = IsolatedDecoder(side_px=8)
    yield decoder
    decoder.close()


@pytest.mark.parametrize("name", ["ray.data.arrow_tensor", "arrow.py_extension_type", "arrow.uuid"])
@pytest.mark.parametrize("is_nested", [False, True], ids=["column", "nested"])
def test_extension_types_are_refused(decoder: IsolatedDecoder, name: str, is_nested: bool):
    metadata = {
        b"ARROW:extension:name": name.encode(),
        b"ARROW:extension:metadata": b"" if name == "arrow.uuid" else b"\x80\x04.",
    }
    field = pa.field("x", pa.binary(16) if name == "arrow.uuid" else pa.int64(), metadata=metadata)
    value: Any = b"0" * 16 if name == "arrow.uuid" else 1
    if is_nested:
        field, value = pa.field("outer", pa.struct([field])), {"x": value}
    schema = pa.schema([pa.field("image", pa.binary()), field])
    file = Counted(written(pa.table([pa.array([b"x"]), pa.array([value], field.type)], schema=schema)))
    with pytest.raises(ImageError, match="extension type"):
        decoder.probe(file, "parquet {}")
    part = Part(row=0, column="image").text
    with pytest.raises(ImageError, match="extension type"):
        decoder.decode_into(file, decoder.slots(1), 0, part=part)


def test_a_dictionary_that_unpacks_to_gigabytes_is_not_unpacked():
    caption = pa.DictionaryArray.from_arrays(pa.array([0] * 5000, pa.int32()), ["x" * 200_000])
    file = Counted(written(pa.table({"image": pa.array([b"y"] * 5000), "caption": caption})))
    assert len(file.data) < 1 << 20
    assert "more than" in ask(file, {"group": 0, "columns": ["caption"]})


def test_text_that_is_not_utf_8_is_damage_and_numbers_are_told_however_large():
    text = pa.StringArray.from_buffers(1, pa.py_buffer(np.array([0, 2], np.int32)), pa.py_buffer(b"\xff\xfe"))
    file = Counted(written(pa.table({"image": [b"y"], "a": text, "b": pa.array([2**64 - 1], pa.uint64())})))
    assert "its columns cannot be read" in ask(file, {"group": 0, "columns": ["a"]})
    assert json.loads(json.dumps(answer(file.source, {"group": 0, "columns": ["b"]}))) == {"b": [2**64 - 1]}


def test_flipped_bytes_are_damage_or_change_nothing():
    images = contents(6)
    data = images_file(images, row_group_size=3).data
    random = np.random.default_rng(1)
    errors, num_whole = list[ImageError](), 0
    for place in [*random.integers(0, len(data), 40), *random.integers(len(data) - 2000, len(data), 160)]:
        file = Counted(data[:place] + bytes([data[place] ^ int(random.integers(1, 256))]) + data[place + 1 :])
        try:
            answer(file.source, {})
            found = [file.image(row) for row in range(6)]
        except ImageError as error:
            errors.append(error)
            continue
        assert found == images, place
        num_whole += 1
    assert {error.error_type for error in errors} == {"DamagedShard"}
    assert num_whole > 0
