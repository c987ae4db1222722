"""The second and last step of every unit: pixels to a committed shard, in an actor that holds an encoder."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import torch

from pipeline.errors import FeatureSetError, ImageError, PipelineError, SinkError
from pipeline.execution.blocks import DecodedImage, DecodedUnit, Receipt
from pipeline.featureset import catalog, paths
from pipeline.featureset.positions import read_positions
from pipeline.featureset.records import CommitRecord, FeatureSetRecord, QuarantineRow
from pipeline.model.build import assemble_encoder
from pipeline.model.outputs import stored_features
from pipeline.model.weights import Weights
from pipeline.observability.timing import Stopwatch
from pipeline.sinks.commits import commit_unit
from pipeline.sinks.shards import EmbeddedImages, ShardWriter, shard_writer
from pipeline.storage.folder import Folder
from pipeline.storage.trouble import PATIENCE_S


@dataclass(frozen=True)
class EncoderSettings:
    """What an encoder actor is built from: plain values, so that the object is made where it runs."""

    tree: dict[str, Any]
    weights: Weights
    device: str
    precision: str
    num_threads: int
    images_per_batch: int


@dataclass(frozen=True)
class SinkSettings:
    """Where a unit's rows go and what they hold, and how long an object store may be in trouble, in seconds."""

    uri: str
    run: int
    record: FeatureSetRecord
    patience_s: float = PATIENCE_S


class Gate(Protocol):
    """Whom to ask before a unit begins, and to tell when it is done."""

    def enter(self) -> bool:
        """Whether it may begin."""
        ...

    def leave(self) -> None:
        """It is done."""
        ...


class EncodeAndWrite:
    """One block of pixels to one committed shard; holds an encoder that Hydra built in this process."""

    def __init__(self, *, encoder: EncoderSettings, sink: SinkSettings, gate: Gate | None = None) -> None:
        self._settings, self._sink, self._gate = encoder, sink, gate
        self._root = Folder(sink.uri, sink.patience_s)
        # A cluster may offer more logical CPUs than there are cores.
        self._num_threads = min(encoder.num_threads, len(os.sched_getaffinity(0)))
        torch.set_num_threads(self._num_threads)
        self._failure: PipelineError | None = None
        try:
            self._encoder = assemble_encoder(
                encoder.tree, encoder.weights, device=encoder.device, precision=encoder.precision
            )
            self._require_stored_positions()
        except PipelineError as error:
            self._failure = error  # of an error in a constructor, Ray hands on the text alone

    def __call__(self, block: pa.Table) -> pa.Table:
        """Encodes, writes and commits the unit in the block's one row; answers with its receipt."""
        # Ray calls this in another thread than the constructor, and torch counts threads by thread.
        torch.set_num_threads(self._num_threads)
        if self._failure:
            raise self._failure
        decoded = DecodedUnit.from_block(block)
        if self._gate is None:
            return self._receipt(decoded).to_block()
        if not self._gate.enter():
            return Receipt(decoded.unit, is_committed=False).to_block()
        try:
            return self._receipt(decoded).to_block()
        finally:
            self._gate.leave()

    def _receipt(self, decoded: DecodedUnit) -> Receipt:
        watch = Stopwatch(decoded.seconds)
        with watch.step("commit"):
            commit = catalog.commit_record(self._root, self._sink.run, decoded.unit)
        if commit is None and decoded.is_committed:
            raise SinkError(f"the commit of unit {decoded.unit} was there a moment ago; something deletes in the sink")
        return Receipt.of(commit or self._commit(decoded, watch), watch.seconds)

    def _commit(self, decoded: DecodedUnit, watch: Stopwatch) -> CommitRecord:
        run, record, quarantine = self._sink.run, self._sink.record, list(decoded.quarantine)
        with (
            watch.step("write"),
            shard_writer(self._root, record, run=run, unit=decoded.unit) as shard,
        ):
            for images, pixels_NCHW in self._batches(decoded):
                quarantine += self._encode(images, pixels_NCHW, shard, watch=watch)
        commit = CommitRecord(
            run=run,
            unit=decoded.unit,
            token=paths.token(),
            fingerprint=record.fingerprint,
            shard=shard.file,
            rows=shard.rows,
            quarantine=tuple(quarantine),
        )
        planned = len(decoded.images) + len(decoded.quarantine)
        if commit.num_images != planned:
            raise SinkError(f"unit {decoded.unit} has {planned} images but {commit.num_images} were accounted for")
        with watch.step("commit"):
            return commit_unit(self._root, commit)

    def _batches(self, decoded: DecodedUnit) -> Iterator[tuple[list[DecodedImage], np.ndarray]]:
        size = self._settings.images_per_batch
        for start in range(0, len(decoded.images), size):
            yield decoded.images[start : start + size], decoded.pixels_NCHW[start : start + size]

    def _encode(
        self, images: list[DecodedImage], pixels_NCHW: np.ndarray, shard: ShardWriter, *, watch: Stopwatch
    ) -> list[QuarantineRow]:
        """Encodes a batch into the shard; images whose features are not finite come back as quarantine rows."""
        with watch.step("encode"), torch.inference_mode():
            pixels = torch.tensor(pixels_NCHW, device=self._settings.device)
            maps, embeddings = stored_features(self._encoder(pixels), self._sink.record.maps)
        finite = np.array([_all_finite(i, embeddings, *maps.values()) for i in range(len(images))])
        good = [image for image, fine in zip(images, finite, strict=True) if fine]
        if good:
            shard.append(
                EmbeddedImages(
                    image_ids=[image.image_id for image in good],
                    uris=[image.uri for image in good],
                    original_sizes=[(image.height, image.width) for image in good],
                    maps=maps if finite.all() else {name: values[finite] for name, values in maps.items()},
                    embeddings=embeddings[finite],
                )
            )
        return [_not_finite(image) for image, fine in zip(images, finite, strict=True) if not fine]

    def _require_stored_positions(self) -> None:
        """The stored position encodings must be those that this encoder would give with every image."""
        stored = read_positions(self._root, self._sink.record)
        for spec in self._sink.record.maps:
            shape = torch.empty(1, *spec.shape_chw, device=self._settings.device)
            own = self._encoder.neck.position_encoding(shape)[0].cpu().numpy()
            if not np.allclose(own, stored[spec.column], atol=1e-6):
                raise FeatureSetError(f"the position encodings stored in {self._root.uri} are not this encoder's")


def _all_finite(place: int, *arrays: np.ndarray) -> bool:
    return all(bool(np.isfinite(array[place]).all()) for array in arrays)


def _not_finite(image: DecodedImage) -> QuarantineRow:
    message = "the encoder gave infinite or undefined numbers, or ones too large for the stored dtype"
    error = ImageError(message, stage="encode", error_type="NonFiniteFeatures")
    return QuarantineRow.of(image.image_id, image.uri, error)
