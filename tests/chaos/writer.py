"""The embed command without Ray and without torch: the real source, plan, shards, commits and seal, a fake encoder.

It is what `Task.open_run` and `EncodeAndWrite` do, in their order; `tests/chaos` runs it in processes to be killed.
"""

import mmap
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from pipeline.errors import ImageError, StoreUnavailableError
from pipeline.execution.comparison import Comparison
from pipeline.execution.plan import cut_units
from pipeline.execution.units import ReadUnits, groups_of, remaining_units
from pipeline.featureset import catalog, paths
from pipeline.featureset.records import CommitRecord, FeatureSetRecord, QuarantineRow, RunRecord
from pipeline.sinks.commits import commit_unit
from pipeline.sinks.feature_sets import claim_feature_set, require_same_settings
from pipeline.sinks.runs import Listing, abandon_run, claim_run, next_run, open_run, standing_run
from pipeline.sinks.seal import seal_run
from pipeline.sinks.shards import EmbeddedImages, shard_writer
from pipeline.sinks.tables import write_table
from pipeline.sources.directory import DirectorySource
from pipeline.storage.folder import Folder
from pipeline.storage.reading import read_uri
from pipeline.storage.trouble import patiently
from tests.chaos.images import MAPS, SETTINGS, encode, is_poison, positions

PHASES = ("starting", "listing", "planning", "units", "sealing", "ended")


class PhaseFile:
    """One byte that says where the writer is, readable by others whatever happens to the writer."""

    def __init__(self, path: str) -> None:
        with Path(path).open("r+b") as stream:
            self._byte = mmap.mmap(stream.fileno(), 1)

    @property
    def phase(self) -> str:
        """Where the writer is, or was when it died."""
        return PHASES[self._byte[0]]

    @phase.setter
    def phase(self, name: str) -> None:
        self._byte[0] = PHASES.index(name)


class Writer:
    """One embed command.

    Args:
        source_uri: the images.
        sink_uri: the feature set.
        images_per_unit: of a new run.
        patience_s: how long a store may be in trouble, in seconds.
        phase_file: where to say how far it is, if anywhere.
    """

    def __init__(
        self, source_uri: str, sink_uri: str, *, images_per_unit: int, patience_s: float = 30, phase_file: str = ""
    ) -> None:
        self._root = Folder(sink_uri, patience_s)
        self._source = DirectorySource(source_uri, patience_s=patience_s)
        self._size, self._patience_s = images_per_unit, patience_s
        self._phase_file = PhaseFile(phase_file) if phase_file else None

    def write(self) -> None:
        """Works until the run is sealed, or there is nothing to do."""
        run = self._open_run()
        if run is None:
            return
        record = catalog.feature_set_record(self._root)
        assert record is not None, "the run was claimed in it"
        self._enter("units")
        for row in self._units(run):
            if catalog.commit_record(self._root, run.run, row["unit"]) is None:
                commit_unit(self._root, self._embed(row, run, record))
        self._enter("sealing")
        seal_run(self._root, run)
        self._enter("ended")

    def _open_run(self) -> RunRecord | None:
        standing = catalog.feature_set_record(self._root)
        if standing is None:
            self._root.require_writable()
        else:
            require_same_settings(self._root, standing, SETTINGS)
            run = open_run(self._root, self._source.description)
            if run is not None:
                self._root.require_writable()
                return run
        number = next_run(self._root)
        self._enter("listing")
        with Comparison.of(self._root, self._source.refs()) as compared:
            self._enter("planning")
            return self._begin(number, compared)

    def _begin(self, number: int, compared: Comparison) -> RunRecord | None:
        if compared.is_unchanged:
            return None
        plan = cut_units(compared.to_embed(), self._size)
        first = next(plan, None)
        removed = compared.removed()
        known = catalog.removed_images(self._root, catalog.sealed_runs(self._root))
        if first is None and removed.equals(known):
            return None
        self._root.require_writable()
        record = catalog.feature_set_record(self._root) or claim_feature_set(
            self._root, settings=SETTINGS, maps=MAPS, positions=positions()
        )
        gone = write_table(self._root, paths.run_table(number, "removed"), removed) if removed.num_rows else None
        return claim_run(
            self._root,
            run=number,
            fingerprint=record.fingerprint,
            source=self._source.description,
            plan=chain([] if first is None else [first], plan),
            images_per_unit=self._size,
            listing=Listing(compared.digest, gone),
        )

    def _units(self, run: RunRecord) -> Iterator[dict[str, Any]]:
        """The rows of the plan that are not committed."""
        units = remaining_units(run, catalog.committed_units(self._root, run.run))
        if len(units):
            read = ReadUnits(uri=self._root.uri, plan=run.plan, patience_s=self._patience_s)
            yield from read(groups_of(units)).to_pylist()

    def _embed(self, row: dict[str, Any], run: RunRecord, record: FeatureSetRecord) -> CommitRecord:
        """Writes the unit's shard; what it says is not yet so."""
        good: list[tuple[str, str, bytes]] = []
        quarantine = []
        for image_id, uri, version in zip(row["image_id"], row["uri"], row["version"], strict=True):
            try:
                good.append((image_id, uri, self._fetch(uri, version)))
            except ImageError as error:
                quarantine.append(QuarantineRow.of(image_id, uri, error))
        with shard_writer(self._root, record, run=run.run, unit=row["unit"]) as shard:
            if good:
                ids, uris, files = map(list, zip(*good, strict=True))
                found = encode(files)
                shard.append(EmbeddedImages(ids, uris, found.sizes, found.maps, found.pooled))
        return CommitRecord(
            run=run.run,
            unit=row["unit"],
            token=paths.token(),
            fingerprint=record.fingerprint,
            shard=shard.file,
            rows=shard.rows,
            quarantine=tuple(quarantine),
        )

    def _fetch(self, uri: str, version: str) -> bytes:
        """The bytes of an image.

        Raises:
            ImageError: they are not there or not of an image.
            StoreUnavailableError: not the image's fault.
        """
        try:
            data = patiently(lambda: read_uri(uri, version), uri, self._patience_s)
        except StoreUnavailableError:
            raise
        except OSError as error:
            raise ImageError(str(error), stage="fetch", error_type=type(error).__name__) from error
        if is_poison(data):
            raise ImageError("its bytes are bad", stage="decode", error_type="Poison")
        return data

    def _enter(self, phase: str) -> None:
        if self._phase_file:
            self._phase_file.phase = phase


def write(
    source_uri: str, sink_uri: str, *, images_per_unit: int, patience_s: float = 30, phase_file: str = ""
) -> None:
    """One embed command, as a process runs it."""
    Writer(source_uri, sink_uri, images_per_unit=images_per_unit, patience_s=patience_s, phase_file=phase_file).write()


def abandon(sink_uri: str) -> int:
    """Gives up the open run if there is one, as jobs/abandon.py does; its number, or 0."""
    run = standing_run(Folder(sink_uri))
    if run is None:
        return 0
    abandon_run(Folder(sink_uri), run.run)
    return run.run
