"""Lists as a source: the rows in their order, however many; whatever is wrong with a list ends with 65 and its name."""

import os
import unicodedata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.errors import AccessDeniedError, ConfigError, InputListError, SourceError, StoreUnavailableError
from pipeline.execution.comparison import Comparison
from pipeline.sources.manifest import ManifestSource
from pipeline.sources.opening import roots_of
from pipeline.storage.folder import Folder
from pipeline.storage.roots import Roots
from tests.faults.faults import Answer
from tests.faults.proxied import ProxiedBucket
from tests.privileges import without_file_handles, without_privileges
from tests.sources import hostile_lists as hostile


def rows(source: ManifestSource) -> list[dict[str, Any]]:
    found = list(source.refs())
    assert all(batch.schema.equals(source.schema) for batch in found)
    return [row for batch in found for row in batch.to_pylist()]


def ids(source: ManifestSource) -> list[str]:
    return [row["image_id"] for row in rows(source)]


def test_listing_is_repeatable_and_carries_the_lists_columns(tmp_path: Path):
    table = {"uri": ["b.jpg", "/data/a.jpg"], "stars": [5, None], "taken": pa.array([0, 1], pa.date32())}
    source = ManifestSource(str(hostile.parquet(tmp_path / "list.parquet", table)))
    assert source.schema.names == ["image_id", "uri", "size_bytes", "version", "stars", "taken"]
    expected = [
        {"image_id": "b.jpg", "uri": f"{tmp_path}/b.jpg", "stars": 5, "taken": "1970-01-01"},
        {"image_id": "/data/a.jpg", "uri": "/data/a.jpg", "stars": None, "taken": "1970-01-02"},
    ]
    expected = [{**row, "size_bytes": 0, "version": ""} for row in expected]
    assert rows(source) == expected
    assert rows(source) == expected
    chosen = ManifestSource(str(tmp_path / "list.parquet"), ("stars",))
    assert chosen.schema.names[4:] == ["stars"]
    assert chosen.description != source.description


def test_the_description_is_what_makes_two_lists_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = hostile.parquet(tmp_path / "a (1).parquet", {"uri": ["a"]})
    monkeypatch.chdir(tmp_path)
    described = ManifestSource("a (1).parquet").description
    assert described == ManifestSource(f"file://{path}").description
    assert described == {
        "kind": "manifest",
        "uri": str(path),
        "columns": None,
        "roots": [str(tmp_path)],
        "http_networks": [],
    }
    other = ManifestSource(str(path), roots=("s3://b/x",), http_networks=("10.1.0.0/16",))
    assert other.roots == Roots(("s3://b/x",), ("10.1.0.0/16",))
    assert (other.description["roots"], other.description["http_networks"]) == (["s3://b/x"], ["10.1.0.0/16"])
    assert roots_of(other) == other.roots


@pytest.mark.parametrize("given", [{"roots": ("ftp://x",)}, {"roots": ("/a/../b",)}, {"http_networks": ("10.1",)}])
def test_a_root_that_is_none_is_refused_at_once(tmp_path: Path, given: dict[str, Any]):
    with pytest.raises(ConfigError):
        ManifestSource(str(hostile.parquet(tmp_path / "a.parquet", {"uri": ["a"]})), **given)


def test_a_list_that_changes_while_it_is_read_is_told(tmp_path: Path):
    text = "uri\n" + "x" * 100 + "\n"
    (tmp_path / "a.csv").write_text(text * 600_000)  # more than is read ahead
    batches = ManifestSource(str(tmp_path / "a.csv"), max_images=10**7).refs()
    next(batches)
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InputListError, match=r"a\.csv has changed while it was read .*; run the same command again"):
        list(batches)


def test_trouble_of_the_machine_is_not_the_lists_fault(tmp_path: Path):
    (tmp_path / "a.csv").write_text(("uri\n" + "x" * 100 + "\n") * 600_000)  # more than is read ahead
    batches = ManifestSource(str(tmp_path / "a.csv"), max_images=10**7).refs()
    next(batches)
    with pytest.raises(StoreUnavailableError, match=r"a\.csv cannot be read: Too many open"), without_file_handles():
        list(batches)


def test_a_folder_of_lists_is_read_in_the_order_of_their_names(tmp_path: Path):
    folder = tmp_path / "list.parquet"  # as some programs call the folder
    (folder / "deep").mkdir(parents=True)
    hostile.parquet(folder / "part-1.parquet", {"uri": ["c"]})
    hostile.parquet(folder / "deep" / "x.parquet", {"uri": ["a"]})
    (folder / "part-0.csv").write_text("uri\nb\n")
    (folder / "_SUCCESS").touch()
    (folder / ".part-1.parquet.crc").touch()
    source = ManifestSource(str(folder))
    assert ids(source) == ["a", "b", "c"]
    assert rows(source)[0]["uri"] == f"{folder}/a"
    assert source.num_ignored == 1


def test_lists_of_a_folder_have_the_same_columns(tmp_path: Path):
    hostile.parquet(tmp_path / "a.parquet", {"uri": ["a"], "label": [1]})
    hostile.parquet(tmp_path / "b.parquet", {"uri": ["b"], "label": ["x"]})
    with pytest.raises(InputListError, match=r"b\.parquet has other columns \(uri text, label text\) than the first"):
        rows(ManifestSource(str(tmp_path)))
    assert ids(ManifestSource(str(tmp_path), ())) == ["a", "b"]


@pytest.mark.parametrize("name", ["nowhere", "nowhere.parquet", "list.txt", "list.zip", "empty"])
def test_a_place_without_a_list_is_a_source_error(tmp_path: Path, name: str):
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.txt").write_text("a.jpg\n")
    (tmp_path / "list.zip").write_bytes(b"PK\5\6" + bytes(18))
    with pytest.raises(SourceError, match=name):
        ManifestSource(f"{tmp_path}/{name}")


def test_a_list_without_permission_is_access_denied(tmp_path: Path):
    path = hostile.parquet(tmp_path / "a.parquet", {"uri": ["a"]})
    path.chmod(0o000)
    with without_privileges(), pytest.raises(AccessDeniedError, match=r"no permission to (list|read) .*a\.parquet"):
        ManifestSource(str(path))


def test_a_pipe_is_no_list_and_is_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "a.csv")
    with pytest.raises(SourceError, match="there is no file or folder"):
        ManifestSource(str(tmp_path / "a.csv"))


def test_more_rows_than_meant_are_refused_with_what_they_would_take(tmp_path: Path):
    path = hostile.claiming(tmp_path / "a.parquet", 10**9)
    with pytest.raises(InputListError) as caught:
        ManifestSource(str(path))
    assert str(caught.value) == (
        f"1,000,000,000 rows or more up to {path}, and source.max_images=200000000 are allowed; at 1024 px their "
        "features would take 44,000,000 GB with features=fpn or 1,000 GB with features=pooled. If that is meant, raise "
        "source.max_images"
    )
    assert caught.value.exit_code == 65
    assert ManifestSource(str(path), max_images=10**9).schema.names[1] == "uri", (
        "a row more than it has is not read yet"
    )


def test_a_list_that_does_not_say_how_many_rows_it_has_is_left_when_there_are_too_many(tmp_path: Path):
    (tmp_path / "a.csv").write_text("uri\n" + "".join(f"{number}\n" for number in range(100_000)))
    hostile.parquet(tmp_path / "b.parquet", {"uri": ["x"]})
    assert len(ids(ManifestSource(str(tmp_path), max_images=100_001))) == 100_001
    with pytest.raises(InputListError, match=r"100,001 rows or more up to .*b\.parquet"):
        ids(ManifestSource(str(tmp_path), max_images=100_000))
    with pytest.raises(InputListError, match=r"rows or more up to .*a\.csv, and source\.max_images=10 are"):
        ids(ManifestSource(str(tmp_path), max_images=10))


def test_rows_that_differ_in_capitals_or_in_how_they_are_composed_are_different_images(tmp_path: Path):
    composed = unicodedata.normalize("NFC", "é.jpg")
    names = [composed, unicodedata.normalize("NFD", composed), composed.upper(), "nul\0.jpg", "\x1b[31m\u202e\n.jpg"]
    source = ManifestSource(str(hostile.parquet(tmp_path / "a.parquet", {"uri": names, "n": [1, 2, 3, 4, 5]})))
    with Comparison.of(Folder(tmp_path / "set"), source.refs(), source.schema) as compared:
        (batch,) = compared.to_embed()
    assert batch["image_id"].to_pylist() == names
    assert batch["uri"].to_pylist() == [f"{tmp_path}/{name}" for name in names]
    assert batch["n"].to_pylist() == [1, 2, 3, 4, 5]


def test_two_rows_of_one_id_are_told_in_words_that_can_be_shown(tmp_path: Path):
    path = hostile.parquet(tmp_path / "a.parquet", {"uri": ["x", "\x1b[2J\u202e\n", "y", "\x1b[2J\u202e\n"]})
    source = ManifestSource(str(path))
    with (
        Comparison.of(Folder(tmp_path / "set"), source.refs(), source.schema) as compared,
        pytest.raises(InputListError, match="numbers 2 and 4") as caught,
    ):
        list(compared.to_embed())
    assert str(caught.value).isprintable()


def test_a_row_that_has_another_version_is_embedded_again(tmp_path: Path):
    def versions(second: str) -> list[str]:
        table = {"uri": ["a", "b"], "version": ["1", second]}
        return [row["version"] for row in rows(ManifestSource(str(hostile.parquet(tmp_path / "a.parquet", table))))]

    before, after = versions("1"), versions("2")
    assert (before[0] == after[0], before[1] == after[1]) == (True, False)


def test_memory_does_not_grow_with_the_number_of_rows(tmp_path: Path):
    numbers = pa.array(range(400_000))
    uris = pa.compute.binary_join_element_wise("s3://bucket/" + "long" * 40, numbers.cast(pa.string()), "/")
    path = hostile.parquet(tmp_path / "a.parquet", {"uri": uris})
    assert 2 * uris.nbytes > 130 * 2**20, "what is listed, ids and URIs"
    source = ManifestSource(str(path))
    batches = source.refs()
    next(batches)
    before = resident_bytes()
    peak, count = before, 0
    for batch in batches:
        peak, count = max(peak, resident_bytes()), count + batch.num_rows
    assert count > 380_000
    assert peak - before < 48 * 2**20


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# In a bucket


def test_a_list_in_a_bucket_is_read_by_ranges_in_spite_of_trouble(store: ProxiedBucket, tmp_path: Path):
    path = hostile.parquet(tmp_path / "a.parquet", {"uri": [f"{number}.jpg" for number in range(50_000)]})
    store.direct.put_object(Bucket=store.bucket, Key="lists/a.parquet", Body=path.read_bytes())
    store.direct.put_object(Bucket=store.bucket, Key="lists/b.csv", Body=b"uri\ns3://other/x.jpg\n")
    store.proxy.install(Answer(503, probability=0.3, seed=5))
    uri = f"s3://{store.bucket}/lists"
    found = rows(ManifestSource(uri))
    assert len(found) == 50_001
    assert (found[7]["uri"], found[-1]["uri"]) == (f"{uri}/7.jpg", "s3://other/x.jpg")
    assert ids(ManifestSource(f"{uri}/b.csv")) == ["s3://other/x.jpg"]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer(503), StoreUnavailableError),
        (Answer(403), AccessDeniedError),
        (Answer(404, "NoSuchBucket"), SourceError),
    ],
)
def test_a_store_that_does_not_give_the_list_is_told_by_what_can_be_done(
    store: ProxiedBucket, answer: Answer, error: type[Exception]
):
    store.direct.put_object(Bucket=store.bucket, Key="a.csv", Body=b"uri\nx.jpg\n")
    source = ManifestSource(f"s3://{store.bucket}/a.csv", patience_s=0.1)
    store.proxy.install(answer)
    with pytest.raises(error, match=f"s3://{store.bucket}"):
        rows(source)
