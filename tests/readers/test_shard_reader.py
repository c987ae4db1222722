"""Shards: one request for a footer, one for a row, and whatever is wrong with them is said by name."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import FeatureSetError
from pipeline.featureset import paths
from pipeline.readers.feature_set import open_features
from pipeline.readers.shard_reader import ShardReader
from tests.faults.proxied import ProxiedBucket
from tests.small_set import MAPS, SmallSet

IDS = ["a", "b", "c", "d"]
COLUMNS = ["embedding", "fpn_0", "fpn_1"]


@pytest.fixture(params=["disk", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a set may lie."""
    return str(tmp_path / "set") if request.param == "disk" else f"s3://{request.getfixturevalue('store').bucket}/set"


class OneShard:
    """A set of one committed shard."""

    def __init__(self, place: str, maps=MAPS, ids=IDS) -> None:
        self.small = SmallSet(place, maps)
        file = self.small.commit(self.small.begin([ids]), 0, ids).shard
        assert file is not None
        self.name, self.num_rows, self.size_bytes = file.name, file.num_rows, file.size_bytes
        self.uri = self.small.root.uri_of(self.name)

    def reader(self, *, num_rows: int | None = None, fingerprint: str | None = None) -> ShardReader:
        """A reader that is told this of the shard."""
        said = {"shard": [self.name], "num_rows": [num_rows or self.num_rows], "size_bytes": [self.size_bytes]}
        return ShardReader(self.small.root, fingerprint or self.small.record.fingerprint, pa.table(said))

    def metadata(self) -> pq.FileMetaData:
        with self.small.root.open(self.name) as stream:
            return pq.read_metadata(stream)

    def change(self, to: Callable[[bytes], bytes], store: ProxiedBucket | None) -> None:
        """Puts other bytes in its place."""
        data = to(self.small.root.read(self.name))
        if self.small.root.is_local:
            Path(self.uri).write_bytes(data)
        else:
            store.direct.put_object(Bucket=store.bucket, Key=f"set/{self.name}", Body=data)


@pytest.fixture
def behind(place: str, request: pytest.FixtureRequest) -> ProxiedBucket | None:
    """The bucket of the set, if it lies in one."""
    return request.getfixturevalue("store") if place.startswith("s3://") else None


# Rows


@pytest.mark.parametrize("rows", [[0], [3], [1, 2], [0, 1, 2, 3], [3, 1, 1]], ids=str)
@pytest.mark.parametrize("maps", [MAPS, ()], ids=["a row group a row", "a row group for all"])
def test_rows_come_one_to_a_table_wherever_they_lie(maps, rows: list[int], place: str):
    shard = OneShard(place, maps)
    columns = ["fpn_1", "embedding", "image_id"] if maps else ["embedding"]
    with shard.small.root.open(shard.name) as stream:
        whole = pq.read_table(stream, columns=columns)
    tables = shard.reader().rows(shard.name, rows, columns)
    assert [table.num_rows for table in tables] == [1] * len(rows)
    assert pa.concat_tables(tables).to_pydict() == whole.take(rows).to_pydict()


def test_rows_in_row_groups_of_several_are_found(tmp_path: Path):
    """As a writer that appends several times makes them."""
    table = pa.table({"embedding": [[float(row)] for row in range(7)]})
    facts = {"sam2_embed.fingerprint": "f", "sam2_embed.run": "1", "sam2_embed.unit": "0"}
    name = paths.shard(1, 0)
    (tmp_path / name).parent.mkdir(parents=True)
    pq.write_table(table.replace_schema_metadata(facts), tmp_path / name, row_group_size=3)
    said = {"shard": [name], "num_rows": [7], "size_bytes": [(tmp_path / name).stat().st_size]}
    reader = ShardReader(SmallSet(tmp_path).root, "f", pa.table(said))
    for rows in ([6], [2, 3], [0, 5], [6, 0, 4]):
        found = reader.rows(name, rows, ["embedding"])
        assert [each["embedding"].to_pylist() for each in found] == [[[float(row)]] for row in rows]


# Requests


def test_a_shard_costs_two_requests_at_first_and_then_one_a_row(store: ProxiedBucket):
    shard = OneShard(f"s3://{store.bucket}/set")
    reader, group = shard.reader(), shard.metadata().row_group(3)
    store.proxy.forget()
    reader.rows(shard.name, [1], COLUMNS)
    assert [seen.operation for seen in store.proxy.requests] == ["GetObject"] * 2
    for row in (0, 1, 3):
        store.proxy.forget()
        reader.rows(shard.name, [row], COLUMNS)
        assert [seen.operation for seen in store.proxy.requests] == ["GetObject"]
    last = group.column(group.num_columns - 1)
    first, end = group.column(4).data_page_offset, last.data_page_offset + last.total_compressed_size
    assert store.proxy.requests[0].headers["range"] == f"bytes={first}-{end - 1}", "what the three columns take"


def test_the_first_row_of_a_set_in_a_bucket_costs_two_requests(store: ProxiedBucket):
    small = SmallSet(f"s3://{store.bucket}/set")
    small.embed([IDS])
    features = open_features(small.uri)
    assert len(features) == 4
    store.proxy.forget()
    assert features["c"].embedding.shape == (256,)
    assert [seen.operation for seen in store.proxy.requests] == ["GetObject"] * 2


def test_a_footer_that_is_longer_than_was_guessed_costs_one_request_more(store: ProxiedBucket):
    ids = [f"{number:03500d}" for number in range(40)]  # statistics repeat them in the footer
    shard = OneShard(f"s3://{store.bucket}/set", ids=ids)
    assert shard.metadata().serialized_size > (64 + 2 * 40) * 1024
    store.proxy.forget()
    assert shard.reader().rows(shard.name, [7], ["fpn_1"])[0].num_rows == 1
    assert len(store.proxy.requests) == 3


def test_a_reader_goes_to_other_processes_without_its_footers(store: ProxiedBucket):
    shard = OneShard(f"s3://{store.bucket}/set")
    reader = shard.reader()
    reader.rows(shard.name, [1], COLUMNS)
    arrived = pickle.loads(pickle.dumps(reader))  # noqa: S301
    store.proxy.forget()
    assert arrived.rows(shard.name, [1], COLUMNS) == reader.rows(shard.name, [1], COLUMNS)
    assert len(store.proxy.requests) == 3


# Damage


@pytest.mark.parametrize(
    ("to", "said"),
    [
        (lambda _: b"", r"it has 0 bytes, its record says \d+"),
        (lambda data: data[:-1], r"it has \d+ bytes, its record says \d+"),
        (lambda data: data[: len(data) // 2], r"it has \d+ bytes, its record says \d+"),
        (lambda data: data + b"more", r"it has \d+ bytes, its record says \d+"),
        (lambda data: b"\0" * len(data), "magic bytes"),
        (lambda data: data[:-8] + b"\xff\xff\xff\x7fPAR1", "footer"),
    ],
    ids=["empty", "cut", "half", "longer", "zeros", "length of the footer"],
)
def test_a_damaged_shard_is_named_with_what_is_wrong(to, said: str, place: str, behind: ProxiedBucket | None):
    shard = OneShard(place)
    shard.change(to, behind)
    with pytest.raises(FeatureSetError, match=f"shard {shard.uri} is damaged: .*{said}"):
        shard.reader().rows(shard.name, [0], COLUMNS)


def test_a_shard_that_was_cut_after_its_footer_was_read_is_named(place: str, behind: ProxiedBucket | None):
    shard = OneShard(place)
    reader = shard.reader()
    reader.rows(shard.name, [0], COLUMNS)
    shard.change(lambda data: data[:100], behind)
    with pytest.raises(FeatureSetError, match=f"shard {shard.uri} is damaged"):
        reader.rows(shard.name, [3], COLUMNS)


def test_a_flipped_byte_of_a_map_is_noticed(place: str, behind: ProxiedBucket | None):
    shard = OneShard(place)
    chunk = shard.metadata().row_group(2).column(5)
    at = chunk.data_page_offset + chunk.total_compressed_size - 9
    shard.change(lambda data: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], behind)
    reader = shard.reader()
    reader.rows(shard.name, [1], COLUMNS)
    with pytest.raises(FeatureSetError, match=f"shard {shard.uri} is damaged: .*checksum"):
        reader.rows(shard.name, [2], COLUMNS)


def test_a_shard_of_other_settings_is_refused_with_both_fingerprints(place: str):
    shard = OneShard(place)
    own = shard.small.record.fingerprint
    with pytest.raises(FeatureSetError, match=f"{shard.name} holds features of other .* is {own}, .* is f{{64}}"):
        shard.reader(fingerprint="f" * 64).rows(shard.name, [0], COLUMNS)


def test_a_shard_of_another_number_of_rows_is_refused(place: str):
    shard = OneShard(place)
    with pytest.raises(FeatureSetError, match=f"{shard.name} is damaged: it has 4 rows, its record says 5"):
        shard.reader(num_rows=5).rows(shard.name, [0], COLUMNS)


@pytest.mark.parametrize(("rows", "columns"), [([4], COLUMNS), ([0], ["fpn_7"])], ids=["row", "column"])
def test_what_a_shard_lacks_is_damage(rows: list[int], columns: list[str], place: str):
    shard = OneShard(place)
    with pytest.raises(FeatureSetError, match=f"{shard.name} is damaged"):
        shard.reader().rows(shard.name, rows, columns)


def test_a_shard_that_no_record_names_is_refused(tmp_path: Path):
    with pytest.raises(FeatureSetError, match=r"shard .*/nowhere is named by an index and by no record"):
        OneShard(str(tmp_path / "set")).reader().rows("nowhere", [0], COLUMNS)
