"""The second and last step of every unit: pixels to a committed shard, in an actor that holds an encoder."""

import socket
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from threading import Lock
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import torch

from pipeline.errors import FeatureSetError, ImageError, PipelineError, SinkError
from pipeline.execution.audit import AuditPlan, audit
from pipeline.execution.blocks import DecodedImage, DecodedUnit, Receipt
from pipeline.execution.lanes import lanes
from pipeline.execution.memory import keep_freed_memory
from pipeline.featureset import catalog, paths
from pipeline.featureset.audit import AuditRow
from pipeline.featureset.maps import level_maps
from pipeline.featureset.positions import read_positions
from pipeline.featureset.records import CommitRecord, FeatureSetRecord, QuarantineRow, UnitWork
from pipeline.model.build import assemble_encoder
from pipeline.model.outputs import StoredFeatures, stored_features
from pipeline.model.weights import Weights
from pipeline.observability.accounting import Ledger
from pipeline.observability.timing import Stopwatch
from pipeline.sinks.commits import commit_unit
from pipeline.sinks.shards import EmbeddedImages, ShardWriter, shard_writer
from pipeline.storage.folder import Folder
from pipeline.storage.trouble import PATIENCE_S, take_retries


@dataclass(frozen=True)
class EncoderSettings:
    """What an encoder actor is built from: plain values, so that the object is made where it runs."""

    tree: dict[str, Any]
    weights: Weights
    device: str
    precision: str
    num_threads: int
    images_per_batch: int
    side_px: int
    for_decoder: bool = False


@dataclass(frozen=True)
class Command:
    """Which command this is, and when it had encoders to wait for, in seconds since 1970."""

    name: str
    began: float


@dataclass(frozen=True)
class SinkSettings:
    """Where a unit's rows go and what they hold, and how long an object store may be in trouble, in seconds."""

    uri: str
    run: int
    record: FeatureSetRecord
    patience_s: float = PATIENCE_S
    command: Command = Command("", 0.0)


class Gate(Protocol):
    """Whom to ask before a unit begins, and to tell when it is done."""

    def enter(self, unit: int) -> bool:
        """Whether it may begin."""
        ...

    def leave(self, unit: int) -> None:
        """It is done."""
        ...


@dataclass(frozen=True)
class _Batch:
    """Images of one forward pass, their pixels, and the places of those to audit."""

    images: list[DecodedImage]
    pixels_NCHW: np.ndarray
    audits: list[int]


@dataclass(frozen=True)
class _Encoded:
    """What became of a batch, with seconds by step."""

    features: StoredFeatures
    audits: list[AuditRow]
    seconds: dict[str, float]


class EncodeAndWrite:
    """One block of pixels to one committed shard; holds an encoder that Hydra built in this process.

    Made to be called by two threads at once: while one unit is encoded, the one before it is written and committed.
    """

    def __init__(
        self,
        *,
        encoder: EncoderSettings,
        sink: SinkSettings,
        audits: AuditPlan,
        gate: Gate | None = None,
        where: Callable[[], str] = str,
    ) -> None:
        self._ledger, self._name, self._node = Ledger(), paths.token(), where()
        self._settings, self._sink, self._audits, self._gate = encoder, sink, audits, gate
        self._root = Folder(sink.uri, sink.patience_s)
        if encoder.device == "cpu":
            keep_freed_memory()
        self._lanes, self._auditing = (
            lanes(encoder.device, encoder.num_threads),
            Lock(),
        )  # the modules take a gigabyte and more an image
        self._failure: PipelineError | None = None
        try:
            self._encoder = assemble_encoder(
                encoder.tree,
                encoder.weights,
                device=encoder.device,
                precision=encoder.precision,
                for_decoder=encoder.for_decoder,
            )
            self._encoder.prepare(encoder.side_px)
            self._require_stored_positions()
        except PipelineError as error:
            self._failure = error  # of an error in a constructor, Ray hands on the text alone
        self._ledger.ready()

    def __call__(self, block: pa.Table) -> pa.Table:
        """Encodes, writes and commits the unit in the block's one row; answers with its receipt."""
        if self._failure:
            raise self._failure
        decoded = DecodedUnit.from_block(block)
        if decoded.made is not None:
            self._ledger.arrived(decoded.made)
        with self._ledger.activity("commit"):  # and whatever else is about the unit as a whole
            receipt = self._admitted(decoded)
        retries = {**decoded.retries, "storage": decoded.retries.get("storage", 0) + take_retries()}
        return replace(
            receipt,
            fetched_bytes=decoded.fetched_bytes,
            retries=retries,
            encoder=self._name,
            host=socket.gethostname(),
            account=self._ledger.account(),
        ).to_block()

    def _admitted(self, decoded: DecodedUnit) -> Receipt:
        if self._gate is None:
            return self._receipt(decoded)
        if not self._gate.enter(decoded.unit):
            return Receipt(decoded.unit, is_committed=False)
        try:
            return self._receipt(decoded)
        finally:
            self._gate.leave(decoded.unit)

    def _receipt(self, decoded: DecodedUnit) -> Receipt:
        watch = Stopwatch(decoded.seconds)
        with watch.step("commit"):
            commit = catalog.commit_record(self._root, self._sink.run, decoded.unit)
        if commit is None and decoded.is_committed:
            raise SinkError(f"the commit of unit {decoded.unit} was there a moment ago; something deletes in the sink")
        commit = commit or self._commit(decoded, watch)
        return Receipt.of(commit, watch.seconds, command=self._sink.command.name)

    def _commit(self, decoded: DecodedUnit, watch: Stopwatch) -> CommitRecord:
        run, record, quarantine = self._sink.run, self._sink.record, list(decoded.quarantine)
        audited: list[AuditRow] = []
        with ExitStack() as stack:
            uploading = partial(self._ledger.activity, "upload")
            shard = stack.enter_context(
                shard_writer(self._root, record, run=run, unit=decoded.unit, uploading=uploading)
            )
            # Lanes take batches as they come: those of the next unit after the last of this one.
            ahead = deque((batch, self._lanes.submit(self._encode, batch)) for batch in self._batches(decoded))
            stack.callback(_cancel, ahead)
            while ahead:
                batch, future = ahead.popleft()  # a future that is kept keeps its features
                encoded = future.result()
                audited += encoded.audits
                watch.add(encoded.seconds)
                with watch.step("write"), self._ledger.activity("serialise"):
                    quarantine += _append(shard, batch.images, encoded.features)
            with watch.step("write"), self._ledger.activity("upload"):
                stack.close()
        commit = CommitRecord(
            run=run,
            unit=decoded.unit,
            token=paths.token(),
            fingerprint=record.fingerprint,
            shard=shard.file,
            rows=shard.rows,
            audit=tuple(audited),
            quarantine=tuple(quarantine),
            work=UnitWork(
                command=self._sink.command.name,
                command_began=self._sink.command.began,
                encoder=self._name,
                **self._ledger.account(),
                seconds=watch.seconds,
                node=self._node,
                decoded_on=decoded.made.node if decoded.made else "",
            ),
        )
        planned = len(decoded.images) + len(decoded.quarantine)
        if commit.num_images != planned:
            raise SinkError(f"unit {decoded.unit} has {planned} images but {commit.num_images} were accounted for")
        with watch.step("commit"):
            return commit_unit(self._root, commit)

    def _batches(self, decoded: DecodedUnit) -> Iterator[_Batch]:
        size, num_images = self._settings.images_per_batch, len(decoded.images)
        audits = self._audits.places(decoded.unit, num_images)
        for start in range(0, num_images, size):
            part = slice(start, start + size)
            within = [place - start for place in audits if start <= place < start + size]
            yield _Batch(decoded.images[part], decoded.pixels_NCHW[part], within)

    def _encode(self, batch: _Batch) -> _Encoded:
        """What is kept of a batch, and how far off it is where it is audited; runs in a lane."""
        watch, maps = Stopwatch(), self._sink.record.maps
        pooling = self._sink.record.settings.get("pooling", "mean")
        with watch.step("encode"), torch.inference_mode():
            with self._ledger.activity("copy"):
                pixels = torch.tensor(batch.pixels_NCHW, device=self._settings.device)
            with self._ledger.activity("compute"):
                output = self._encoder(pixels)
                if pixels.is_cuda:
                    torch.cuda.current_stream().synchronize()  # or copying would seem to take what computing takes
            with self._ledger.activity("copy"):
                features = stored_features(output, maps, pooling)
        audits = []
        for place in batch.audits:
            if features.is_finite[place]:
                with watch.step("audit"), self._ledger.activity("audit"), self._auditing:
                    stored, pixels_CHW = features.of_image(place), batch.pixels_NCHW[place]
                    errors = audit(self._encoder, pixels_CHW, stored, maps=maps, pooling=pooling)
                audits.append(AuditRow(image_id=batch.images[place].image_id, errors=errors))
        return _Encoded(features, audits, watch.seconds)

    def _require_stored_positions(self) -> None:
        """The stored position encodings must be those that this encoder would give with every image."""
        stored = read_positions(self._root, self._sink.record)
        for spec in level_maps(self._sink.record.maps):
            shape = torch.empty(1, *spec.shape_chw, device=self._settings.device)
            own = self._encoder.neck.position_encoding(shape)[0].cpu().numpy()
            written = stored[spec.column]
            if not (np.array_equal(own, written) or np.allclose(own, written, atol=1e-6)):
                raise FeatureSetError(f"the position encodings stored in {self._root.uri} are not this encoder's")


def _cancel(ahead: deque[tuple[_Batch, Future[_Encoded]]]) -> None:
    for _, future in ahead:
        future.cancel()


def _append(shard: ShardWriter, images: list[DecodedImage], features: StoredFeatures) -> list[QuarantineRow]:
    """Writes the good images; those whose features are not finite come back as quarantine rows."""
    finite = features.is_finite
    good = [image for image, fine in zip(images, finite, strict=True) if fine]
    if good:
        shard.append(
            EmbeddedImages(
                image_ids=[image.image_id for image in good],
                uris=[image.uri for image in good],
                original_sizes=[(image.height, image.width) for image in good],
                maps={name: part if finite.all() else part[finite] for name, part in features.maps.items()},
                embeddings=features.embeddings[finite],
            )
        )
    return [_not_finite(image) for image, fine in zip(images, finite, strict=True) if not fine]


def _not_finite(image: DecodedImage) -> QuarantineRow:
    message = "the encoder gave infinite or undefined numbers, or ones too large for the stored dtype"
    error = ImageError(message, stage="encode", error_type="NonFiniteFeatures")
    return QuarantineRow.of(image.image_id, image.uri, error)
