"""What each way to store features costs: bytes, error, masks, and speed, measured on a few images of one's own.

Every way goes through the real sinks and the real reader, in a folder that is deleted afterwards.
"""

import random
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch

from pipeline.errors import CheckpointError, ConfigError, SourceError
from pipeline.exports.fidelity_set import StoredSet
from pipeline.exports.mask_decoder import MaskDecoder
from pipeline.exports.picture import NO_PICTURE, picture
from pipeline.featureset.maps import DECODER_COLUMNS, MapSpec
from pipeline.featureset.schema import PART
from pipeline.model.build import EncoderConfig, assemble_encoder, decoder_inputs
from pipeline.model.outputs import FeatureChoice, exact_map, map_specs, stored_features
from pipeline.model.weights import Weights, local_copy
from pipeline.preprocessing.transform import normalise
from pipeline.readers.row import FeatureRow
from pipeline.storage.roots import Roots

if TYPE_CHECKING:
    from pipeline.model.decoder_inputs import DecoderInputs

CHOICES = (
    FeatureChoice("fpn", ("float32",)),
    FeatureChoice("fpn", ("float16",)),
    FeatureChoice("fpn", ("int8",)),
    FeatureChoice("decoder", ("float32",)),
    FeatureChoice("decoder", ("float16",)),
    FeatureChoice("decoder", ("int8", "float16", "float16")),
    FeatureChoice("decoder", ("int8",)),
    FeatureChoice("embed", ("float16",)),
    FeatureChoice("embed", ("int8",)),
)
# Prompts, as fractions of width and height.
_PROMPTS = [(0.5, 0.5), (0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)]
_COLUMNS = (
    "features",
    "dtype",
    "MB an image",
    "relative error (worst map)",
    "mask IoU, mean (least)",
    "write MB/s",
    "read MB/s",
)


@dataclass
class Measured:
    """One way to store features.

    Attributes:
        choice: which.
        bytes_per_image: of its maps.
        errors: greatest relative L2 error of each column against the modules in float32.
        overlaps: of each mask with that from exact features, intersection over union.
        write_s, read_s: of all images.
    """

    choice: FeatureChoice
    bytes_per_image: int
    errors: dict[str, float] = field(default_factory=dict)
    overlaps: list[float] = field(default_factory=list)
    write_s: float = 0.0
    read_s: float = 0.0

    def line(self, num_images: int) -> str:
        """A row of the table."""
        megabytes = self.bytes_per_image / 1e6
        dtypes, speed = ",".join(self.choice.dtypes), [num_images * megabytes / s for s in (self.write_s, self.read_s)]
        masks = f"{np.mean(self.overlaps):.4f} ({min(self.overlaps):.4f})" if self.overlaps else "-"
        worst = max(self.errors, key=lambda column: self.errors[column])
        return (
            f"| {self.choice.kind} | {dtypes} | {megabytes:.2f} | {self.errors[worst]:.4f} ({worst}) | {masks} "
            f"| {speed[0]:.0f} | {speed[1]:.0f} |"
        )


@dataclass(frozen=True)
class Fidelity:
    """All ways to store features of the same images, and what to know about the figures."""

    rows: list[Measured]
    num_images: int
    notes: list[str]

    def text(self) -> str:
        """The table."""
        head = f"| {' | '.join(_COLUMNS)} |"
        lines = [*self.notes, "", head, "|---" * len(_COLUMNS) + "|", *(row.line(self.num_images) for row in self.rows)]
        return "\n".join(lines)


def sample(refs: Iterable[pa.RecordBatch], size: int) -> list[dict[str, Any]]:
    """Refs drawn evenly from a listing, the same ones every time."""
    drawn: list[dict[str, Any]] = []
    generator, seen = random.Random(0), 0  # noqa: S311  a sample, no secret
    for batch in refs:
        for row in batch.to_pylist():
            seen += 1
            place = generator.randrange(seen)
            if len(drawn) < size:
                drawn.append(row)
            elif place < size:
                drawn[place] = row
    return drawn


class _Encoded:
    """One image's features: from the modules in float32, and from encoders as jobs have them."""

    def __init__(self, image_id: str, size: tuple[int, int], exact: dict[str, Any], computed: dict[bool, Any]) -> None:
        self.image_id, self.size, self.exact, self.computed = image_id, size, exact, computed
        self.masks: list[np.ndarray] = []


class Bench:
    """Encoders and, where there can be one, a mask decoder.

    Args:
        encoder: its configuration.
        weights: of a whole model, or random.
        side_px: side of the square the encoder takes.
        precision: what features are computed in.
        roots: what may be read, if the list of images is not to be trusted.

    Raises:
        CheckpointError: the weights cannot be had.
    """

    def __init__(
        self, encoder: EncoderConfig, weights: Weights, *, side_px: int, precision: str, roots: Roots | None = None
    ) -> None:
        self.tree, self.side_px, self.notes, self._roots = encoder.tree, side_px, list[str](), roots
        self._encoders = {False: assemble_encoder(self.tree, weights, device="auto", precision=precision)}
        self._inputs: DecoderInputs | None = None
        self._decoder: MaskDecoder | None = None
        try:
            self._inputs = decoder_inputs(self.tree, weights)
            self._encoders[True] = assemble_encoder(
                self.tree, weights, device="auto", precision=precision, for_decoder=True
            )
            if weights.kind == "random":
                self.notes.append(f"weights {weights.label}: no masks, and errors of trained ones may differ")
            else:
                self._decoder = MaskDecoder(local_copy(weights), side_px=side_px)
        except (CheckpointError, ConfigError) as error:
            self.notes.append(f"no masks: {error}")

    def choices(self) -> list[FeatureChoice]:
        """Those that the weights allow."""
        return [choice for choice in CHOICES if choice.for_decoder in self._encoders]

    def encode(self, refs: Iterable[dict[str, Any]]) -> list[_Encoded]:
        """Every image that can be read; the others are noted."""
        found = []
        for ref in refs:
            try:
                pixels_HWC = picture(ref["uri"], ref.get(PART.name), roots=self._roots)
            except NO_PICTURE as error:
                self.notes.append(f"left out {ref['image_id']}: {error}")
                continue
            found.append(self._encode(ref["image_id"], pixels_HWC))
        if not found:
            raise SourceError("none of the sampled images can be read, see above")
        return found

    def measure(self, choice: FeatureChoice, images: list[_Encoded]) -> Measured:
        """One way to store them."""
        specs = map_specs(self.tree, self.side_px, choice)
        measured = Measured(choice, sum(spec.size_bytes for spec in specs))
        vector = None if self._inputs is None else tuple(self._inputs.no_mem_embed.flatten().tolist())
        with tempfile.TemporaryDirectory(prefix="fidelity-") as folder:
            stored = StoredSet(folder, specs, vector if choice.for_decoder else None)
            outputs = (image.computed[choice.for_decoder] for image in images)
            features = [stored_features(output, specs) for output in outputs]
            measured.write_s = stored.write([(image.image_id, image.size) for image in images], features)
            rows, measured.read_s = stored.read()
            for image, row in zip(images, rows, strict=True):
                self._compare(measured, image, row)
        return measured

    def _encode(self, image_id: str, pixels_HWC: np.ndarray) -> _Encoded:
        height, width, _ = pixels_HWC.shape
        pixels_BCHW = normalise(pixels_HWC, self.side_px)[None]
        with torch.inference_mode():
            device = next(self._encoders[False].parameters()).device
            plain = self._encoders[False].encode_exactly(pixels_BCHW.to(device))
            computed = {key: encoder(pixels_BCHW.to(device)) for key, encoder in self._encoders.items()}
        return _Encoded(image_id, (height, width), dict(plain), computed)

    def _compare(self, measured: Measured, image: _Encoded, row: FeatureRow) -> None:
        specs = map_specs(self.tree, self.side_px, measured.choice)
        for spec in specs:
            exact = self._exact(image, spec)
            difference = np.linalg.norm(row.maps[spec.column].astype(np.float32) - exact)
            error = float(difference / np.linalg.norm(exact))
            measured.errors[spec.column] = max(error, measured.errors.get(spec.column, 0.0))
        if self._decoder is None or len(specs) < len(DECODER_COLUMNS):
            return
        if not image.masks:
            exact_maps = {spec.column: self._exact(image, spec) for spec in specs}
            image.masks = list(self._masks(self._as_decoder_row(image, exact_maps)))
        found = self._masks(self._as_decoder_row(image, row.maps))
        for one, other in zip(image.masks, found, strict=True):
            measured.overlaps.append(float((one & other).sum() / max(1, (one | other).sum())))

    def _exact(self, image: _Encoded, spec: MapSpec) -> np.ndarray:
        values_BCHW = exact_map(image.exact, spec)
        if spec.column.startswith("high_res_"):
            assert self._inputs is not None
            convolution = self._inputs.sam_mask_decoder[f"conv_s{spec.level}"]
            with torch.inference_mode():
                values_BCHW = convolution(values_BCHW.cpu())
        return np.asarray(values_BCHW[0].float().cpu().numpy())

    def _as_decoder_row(self, image: _Encoded, maps: Any) -> FeatureRow:
        """The row with the maps that the mask decoder takes, made from plain levels if need be."""
        assert self._inputs is not None
        taken = dict(maps)
        for level, column in enumerate(DECODER_COLUMNS[:2]):
            if column not in taken:
                values_CHW = torch.from_numpy(np.ascontiguousarray(maps[f"fpn_{level}"], np.float32))
                with torch.inference_mode():
                    convolution = self._inputs.sam_mask_decoder[f"conv_s{level}"]
                    taken[column] = convolution(values_CHW[None])[0].numpy()
        vector = self._inputs.no_mem_embed.flatten().numpy()
        return FeatureRow(image.image_id, "", image.size, taken, tuple, partial(np.zeros, 0, np.float32), vector)

    def _masks(self, row: FeatureRow) -> Iterator[np.ndarray]:
        assert self._decoder is not None
        height, width = row.original_size
        for x, y in _PROMPTS:
            yield from self._decoder.predict(row, [(x * width, y * height)]).masks


def fidelity(bench: Bench, refs: Iterable[pa.RecordBatch], num_images: int) -> Fidelity:
    """Measures every way to store features.

    Args:
        bench: what features are made with.
        refs: the source's listing.
        num_images: how many of its images to take.

    Raises:
        SourceError: there are no images, or none that can be read.
    """
    drawn = sample(refs, num_images)
    if not drawn:
        raise SourceError("the source has no images")
    images = bench.encode(drawn)
    rows = [bench.measure(choice, images) for choice in bench.choices()]
    return Fidelity(rows, len(images), [f"{len(images)} images, {bench.side_px} px", *bench.notes])
