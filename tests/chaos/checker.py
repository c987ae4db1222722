"""The oracle: what a feature set holds, as readers see it, against the files it was made of; multisets, bit for bit.

It takes nothing from the writer but the fake encoder, which is a pure function of a file's bytes.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import pipeline
from pipeline.errors import PipelineError
from pipeline.featureset import catalog, paths
from pipeline.featureset.records import Manifest
from pipeline.featureset.schema import SHARD_FILE
from pipeline.readers.row import FeatureRow
from pipeline.storage.folder import Folder
from tests.chaos.images import MAPS, contents, encode, is_poison, positions

_SHOWN = 3  # ids that a problem names


@dataclass
class Verdict:
    """What is wrong with a feature set.

    `picture` changes with every byte that readers see; `orphans` are shards that were written in vain.
    """

    planned: int = 0
    lost: int = 0
    duplicated: int = 0
    wrong: int = 0
    orphans: int = 0
    picture: str = ""
    problems: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether nothing is."""
        return not self.problems


def check(places: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The verdicts on many feature sets, each opened anew; arguments and results are plain values for processes."""
    return [asdict(verdict_on(**place)) for place in places]


def verdict_on(sink: str, source: str, images: str, *, num_rows: int = 20, absent: Sequence[str] = ()) -> Verdict:
    """The verdict on one.

    Args:
        sink: the feature set.
        source: the URI it was made of.
        images: a local folder with the same files.
        num_rows: images that are also read one by one.
        absent: ids that the source did not show.
    """
    truth = {image_id: data for image_id, data in contents(Path(images)).items() if image_id not in absent}
    try:
        check = _Check(sink, source, truth)
        check.run(num_rows)
    except (PipelineError, OSError, pa.ArrowException) as error:
        return Verdict(len(truth), lost=len(truth), problems=[f"{type(error).__name__}: {error}"])
    return check.verdict


class _Check:
    """One feature set beside the truth."""

    def __init__(self, sink: str, source: str, truth: dict[str, bytes]) -> None:
        self._features = pipeline.open_features(sink, sealed_only=True)
        self._root, self._source, self._truth = Folder(sink), source, truth
        self._ids = list(truth)
        self._place = {image_id: place for place, image_id in enumerate(self._ids)}
        self._expected = encode(list(truth.values()))
        self._wrong: set[str] = set()
        self._seen = hashlib.sha256()
        self.verdict = Verdict()

    def run(self, num_rows: int) -> None:
        """Looks at everything."""
        manifests = [Manifest.model_validate(run) for run in self._features.metadata["runs"]]
        tables = {
            kind: pa.concat_tables(catalog.read_table(self._root, getattr(each, kind)) for each in manifests)
            for kind in ("index", "shards", "quarantine")
        }
        self._check_counts(manifests, tables)
        self._check_ids(manifests, tables)
        self._check_index(tables["index"])
        self._check_quarantine(tables["quarantine"])
        self._check_commits(manifests, tables["shards"])
        self._check_single_rows(num_rows)
        self.verdict.wrong += len(self._wrong)
        for table in tables.values():
            self._seen.update(repr(table.to_pydict()).encode())
        self._seen.update(repr(manifests).encode())
        self.verdict.picture = self._seen.hexdigest()

    def _check_counts(self, manifests: list[Manifest], tables: dict[str, pa.Table]) -> None:
        planned, embedded, bad = (
            sum(getattr(each, name) for each in manifests)
            for name in ("num_planned", "num_embedded", "num_quarantined")
        )
        self.verdict.planned = planned
        found = (tables["index"].num_rows, tables["quarantine"].num_rows)
        if planned != embedded + bad or (embedded, bad) != found:
            self._fail(f"{planned} planned, {embedded} embedded and {bad} quarantined by the manifests; {found} rows")
        if len(self._features) != embedded or self._features.quarantine.num_rows != bad:
            self._fail(f"readers see {len(self._features)} images and {self._features.quarantine.num_rows} quarantined")

    def _check_ids(self, manifests: list[Manifest], tables: dict[str, pa.Table]) -> None:
        """The same ids, each once, in whatever way one looks at the feature set."""
        plans = [catalog.run_record(self._root, each.run).plan for each in manifests]
        planned = [ids for plan in plans for ids in catalog.read_table(self._root, plan)["image_id"].to_pylist()]
        bad = tables["quarantine"]["image_id"].to_pylist()
        views = {
            "plan": [image_id for ids in planned for image_id in ids],
            "index and quarantine": tables["index"]["image_id"].to_pylist() + bad,
            "reader": self._features.image_ids + self._features.quarantine["image_id"].to_pylist(),
            "shards and quarantine": self._shard_ids() + bad,
        }
        truth = Counter(self._ids)
        lost, more, phantom = 0, 0, 0
        for view, ids in views.items():
            missing, extra = truth - Counter(ids), Counter(ids) - truth
            unknown = Counter({image_id: count for image_id, count in extra.items() if image_id not in truth})
            for what, found in (("lacks", missing), ("repeats", extra - unknown), ("invents", unknown)):
                if found:
                    self.verdict.problems.append(f"{view} {what} {found.total()} ids: {sorted(found)[:_SHOWN]}")
            lost, phantom = max(lost, missing.total()), max(phantom, unknown.total())
            more = max(more, (extra - unknown).total())
        self.verdict.lost, self.verdict.duplicated = lost, more
        self.verdict.wrong += phantom

    def _shard_ids(self) -> list[str]:
        """The ids in all shards, whose features are compared on the way."""
        ids = []
        for uri in self._features.files:
            data = self._root.read(uri.removeprefix(f"{self._root.uri}/"))
            self._seen.update(data)
            table = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True).read()
            self._check_rows(table, f"shard {uri}")
            for spec in MAPS:
                self._compare(table, spec.column, table[spec.column].to_pylist(), self._expected.maps[spec.column])
            ids += table["image_id"].to_pylist()
        return ids

    def _check_index(self, index: pa.Table) -> None:
        """The rows of the index, and that each leads to its image."""
        self._check_rows(index, "index")
        by_shard: dict[str, list[str]] = {}
        columns = (index[name].to_pylist() for name in ("image_id", "shard", "row"))
        for image_id, shard, row in zip(*columns, strict=True):
            if shard not in by_shard:
                by_shard[shard] = pq.read_table(self._root.open(shard), columns=["image_id"])["image_id"].to_pylist()
            if row >= len(by_shard[shard]) or by_shard[shard][row] != image_id:
                self._blame(image_id, f"row {row} of {shard} is not {image_id}")

    def _check_rows(self, table: pa.Table, where: str) -> None:
        """The columns that shards and the index share."""
        for image_id, uri in zip(table["image_id"].to_pylist(), table["uri"].to_pylist(), strict=True):
            if uri != f"{self._source}/{image_id}" or is_poison(self._truth.get(image_id, b"")):
                self._blame(image_id, f"{where} has {image_id} from {uri}")
        self._compare(table, "embedding", [_floats(each) for each in table["embedding"]], self._expected.pooled)
        sizes = zip(table["original_height"].to_pylist(), table["original_width"].to_pylist(), strict=True)
        self._compare(table, "original size", list(sizes), self._expected.sizes)

    def _compare(self, table: pa.Table, what: str, found: list[Any], expected: Any) -> None:
        for image_id, value in zip(table["image_id"].to_pylist(), found, strict=True):
            place = self._place.get(image_id)
            if place is not None and value != _plain(expected[place]):
                self._blame(image_id, f"{what} of {image_id} is another image's or nobody's")

    def _check_quarantine(self, quarantine: pa.Table) -> None:
        for row in quarantine.to_pylist():
            if not is_poison(self._truth.get(row["image_id"], b"")) or row["error_type"] != "Poison":
                self._blame(row["image_id"], f"{row['image_id']} is quarantined: {row['error_type']} {row['message']}")

    def _check_commits(self, manifests: list[Manifest], shards: pa.Table) -> None:
        """One commit a unit, no other shards than theirs in the sealed table, every one of them there and whole."""
        sealed = {each.run for each in manifests}
        named: dict[str, dict[str, Any]] = {}
        for run in catalog.run_numbers(self._root):
            record, names = catalog.run_record(self._root, run), sorted(self._root.names(paths.commits(run)))
            if run in sealed and names != [f"{unit:09d}.json" for unit in range(record.num_units)]:
                self._fail(f"run {run} has {record.num_units} units and these commits: {names}")
            found = [catalog.commit_record(self._root, run, int(name[:9])) for name in names]
            files = {each.shard.name: each.shard.model_dump() for each in found if each and each.shard}
            there = set(self._root.names(paths.shards(run)))
            self.verdict.orphans += len(there - {name.rpartition("/")[2] for name in files})
            named.update(files if run in sealed else {})
        rows = {row["shard"]: row for row in shards.select(SHARD_FILE).to_pylist()}
        if rows.keys() != named.keys() or len(rows) != shards.num_rows:
            self._fail(f"the table of shards and the commits differ by {sorted(rows.keys() ^ named.keys())[:_SHOWN]}")
        for name, row in rows.items():
            data = self._root.read(name)
            facts = {"num_rows": pq.ParquetFile(pa.BufferReader(data)).metadata.num_rows, "size_bytes": len(data)}
            if {**row, **facts, "sha256": hashlib.sha256(data).hexdigest()} != row or {**row, "name": name} != {
                **named.get(name, {}),
                "shard": name,
            }:
                self._fail(f"{name} is not the file that was committed: {row}")

    def _check_single_rows(self, num_rows: int) -> None:
        """Some images as a user reads them, spread over the set, and the position encodings."""
        ids = self._features.image_ids
        for image_id in ids[:: max(1, len(ids) // max(num_rows, 1))]:
            try:
                if image_id in self._place and not self._is_right(self._features[image_id], self._place[image_id]):
                    self._blame(image_id, f"features[{image_id!r}] is not what the encoder gives")
            except PipelineError as error:
                self._blame(image_id, f"features[{image_id!r}]: {error}")
        stored = self._features[ids[0]].load_positions() if ids else ()
        wanted = [positions()[spec.column].transpose(2, 0, 1).tobytes() for spec in MAPS]
        if [each.tobytes() for each in stored] != wanted:
            self._fail("the position encodings are not those that were stored")

    def _is_right(self, row: FeatureRow, place: int) -> bool:
        maps = [self._expected.maps[spec.column][place].transpose(2, 0, 1) for spec in MAPS]
        same = all(found.tobytes() == wanted.tobytes() for found, wanted in zip(row.maps.values(), maps, strict=True))
        pooled, size = _plain(self._expected.pooled[place]), self._expected.sizes[place]
        return same and row.embedding.tolist() == pooled and row.original_size == size

    def _blame(self, image_id: str, problem: str) -> None:
        self._wrong.add(image_id)
        if len(self._wrong) <= _SHOWN:
            self.verdict.problems.append(problem)

    def _fail(self, problem: str) -> None:
        self.verdict.wrong += 1
        self.verdict.problems.append(problem)


def _plain(value: Any) -> Any:
    """What Arrow hands out for it: bytes of a map, a list of floats, a pair of sizes."""
    if isinstance(value, tuple):
        return value
    return value.tobytes() if value.ndim == 3 else value.tolist()


def _floats(value: pa.Scalar) -> list[float]:
    floats: list[float] = value.as_py()
    return floats


def read(sink: str) -> str:
    """All that users can read, as one digest; or, if that is how it ends, the error that says something is wrong."""
    try:
        features = pipeline.open_features(sink, sealed_only=True)
        seen = hashlib.sha256(repr((features.quarantine.to_pylist(), features.pooled.to_pylist())).encode())
        for image_id in features:
            row = features[image_id]
            values = [*row.maps.values(), *row.load_positions(), row.embedding]
            seen.update(repr((image_id, row.original_size, [each.shape for each in values])).encode())
            seen.update(b"".join(each.tobytes() for each in values))
    except PipelineError as error:
        return f"noticed: {type(error).__name__}: {error}"
    return seen.hexdigest()
