"""What an embed command names, opened and checked, and the run it works on: begun, continued, or nothing to do.

Nothing is written before everything that can be wrong with the command has been looked at.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any, Self

import pyarrow as pa

from pipeline.config import FeaturesConfig, JobConfig, TilesConfig, WholeConfig
from pipeline.errors import SourceError
from pipeline.execution.comparison import Comparison
from pipeline.execution.expanding import ExpandedSource, Frames, Tiles
from pipeline.execution.fetch import DecodeLimits
from pipeline.execution.plan import cut_units, images_per_unit
from pipeline.execution.probing import Prober
from pipeline.featureset import catalog, paths
from pipeline.featureset.fingerprint import CODE_VERSION
from pipeline.featureset.maps import MapSpec
from pipeline.featureset.records import FeatureSetRecord, RunRecord
from pipeline.model.build import (
    EncoderConfig,
    check_checkpoint,
    decoder_inputs,
    load_encoder_config,
    resolve_precision,
)
from pipeline.model.outputs import FeatureChoice, map_specs, position_encodings
from pipeline.model.weights import Weights, local_copy, resolve_weights
from pipeline.preprocessing.pixel_rules import PixelRules
from pipeline.preprocessing.transform import DESCRIPTION
from pipeline.sinks.feature_sets import claim_feature_set, require_same_settings
from pipeline.sinks.runs import Listing, claim_run, next_run, open_run
from pipeline.sinks.tables import write_table
from pipeline.sources.image_ref import Source
from pipeline.sources.opening import ASKING, UNIQUE_IDS, open_source, roots_of
from pipeline.storage.folder import Folder
from pipeline.storage.roots import Roots


@dataclass(frozen=True)
class Task:
    """Source, encoder, weights, maps and sink of one command; `roots` are what a list of images may name."""

    root: Folder
    source: Source
    encoder: EncoderConfig
    weights: Weights
    side_px: int
    choice: FeatureChoice
    maps: tuple[MapSpec, ...]
    roots: Roots | None = None
    probers: tuple[Prober, ...] = ()

    @classmethod
    def of(cls, config: JobConfig) -> Self:
        """The task a configuration describes.

        Raises:
            ConfigError: something it names is not there, or does not fit.
        """
        patience_s = config.execution.patience_s
        root = Folder(config.sink.uri, patience_s)
        limits = decode_limits(config)
        prober = Prober(limits=limits, patience_s=patience_s)
        listed = open_source(**asdict(config.source), patience_s=patience_s, ask=prober.ask)
        roots = roots_of(listed)
        _ = listed.schema  # columns that are not there show now, before a cluster is started
        encoder = load_encoder_config(config.model.config or config.model.name, config.model.overrides)
        side_px = config.preprocess.side_px or encoder.side_px
        parting = _parting(config.preprocess, side_px)
        within = Prober(limits=limits, patience_s=patience_s, roots=roots)
        source = ExpandedSource(listed, parting, ask=within.ask) if parting else listed
        choice = feature_choice(config.features)
        maps = map_specs(encoder.tree, side_px, choice)
        weights = resolve_weights(config.model.checkpoint, encoder.name)
        if weights.kind != "random":
            check_checkpoint(encoder.tree, local_copy(weights), for_decoder=choice.for_decoder)
        return cls(root, source, encoder, weights, side_px, choice, maps, roots, (prober, within))

    def settings(self, config: JobConfig, device: str) -> dict[str, Any]:
        """Everything that can change a number; what `auto` meant when the set was made stays what it means."""
        precision, background = config.execution.precision, config.preprocess.background
        standing = catalog.feature_set_record(self.root)
        if precision == "auto" and standing is not None:
            precision = standing.settings["precision"]
        return {
            "code_version": CODE_VERSION,
            "encoder": self.encoder.tree,
            "weights": self.weights.identity,
            "preprocessing": {
                **DESCRIPTION,
                "background": list(background),
                "side_px": self.side_px,
                **_parted(config.preprocess),
            },
            "features": config.features.kind,
            "storage_dtype": dtypes[0] if len(dtypes := config.features.storage_dtype) == 1 else list(dtypes),
            **{name: value for name, value in _extras(self.choice).items() if value},
            "precision": resolve_precision(precision, device),
        }

    def open_run(
        self, settings: dict[str, Any], num_images: int | None = None, *, retry_quarantined: str = "none"
    ) -> RunRecord | None:
        """The run to work on: the open one, or a new one of all images that are new or changed.

        Args:
            settings: from `settings`.
            num_images: images to a unit of a new run; None sizes it.
            retry_quarantined: which quarantined images a new run tries again: `none`, `transient` or `all`.

        Returns:
            None when the feature set holds every image already.

        Raises:
            RunConflictError: the feature set has other settings, or an open run of another source.
            SourceError: there are no images.
            SinkError, AccessDeniedError: the sink cannot be written.
        """
        number = next_run(self.root)  # before anything is looked at: a run begun meanwhile is met, not doubled
        standing = catalog.feature_set_record(self.root)
        if standing is None:
            self.root.require_writable()
        else:
            require_same_settings(self.root, standing, settings)
            run = open_run(self.root, self.source.description)
            if run is not None:
                self.root.require_writable()
                return run
        size = num_images or images_per_unit(self.maps, self.side_px)
        with self.comparison(retry_quarantined) as compared:
            return self._begin(number, compared, settings=settings, size=size)

    @contextmanager
    def comparison(self, retry_quarantined: str = "none") -> Iterator[Comparison]:
        """The source as it is now beside what the feature set holds, for the length of the block."""
        source = self.source
        with Comparison.of(
            self.root,
            source.refs(),
            source.schema,
            retry_quarantined=retry_quarantined,
            advice=UNIQUE_IDS.get(source.description["kind"], ""),
        ) as compared:
            for prober in self.probers:  # everything is listed
                prober.close()
            yield compared

    def _begin(self, number: int, compared: Comparison, *, settings: dict[str, Any], size: int) -> RunRecord | None:
        if compared.is_unchanged:
            return None
        plan = cut_units(compared.to_embed(), size)
        first = next(plan, None)
        removed = compared.removed()
        if first is None and not catalog.sealed_runs(self.root):
            raise self.no_images()
        if first is None and removed.equals(self._known_removed()):
            return None
        self.root.require_writable()
        record = self._claim(settings)
        gone = write_table(self.root, paths.run_table(number, "removed"), removed) if removed.num_rows else None
        return claim_run(
            self.root,
            run=number,
            fingerprint=record.fingerprint,
            source=self.source.description,
            plan=chain([] if first is None else [first], plan),
            images_per_unit=size,
            listing=Listing(compared.digest, gone),
        )

    @property
    def asks_for_parts(self) -> bool:
        """Whether listing reads the headers of files, to tell which images they hold."""
        return isinstance(self.source, ExpandedSource) or self.source.description["kind"] in ASKING

    def no_images(self) -> SourceError:
        """What to say of a source that lists nothing, and what may be why."""
        said = f"no images in {self.source.description.get('uri')}"
        if not self.source.num_ignored:
            return SourceError(said)
        advice = "; source.suffixes=null takes every file" if "suffixes" in self.source.description else ""
        return SourceError(f"{said}: {self.source.num_ignored} files were passed over because of their names{advice}")

    def _known_removed(self) -> pa.Table:
        """The ids that the last sealed run found to be gone from the source."""
        return catalog.removed_images(self.root, catalog.sealed_runs(self.root))

    def _claim(self, settings: dict[str, Any]) -> FeatureSetRecord:
        """The feature set, made now or by another command meanwhile, but with these settings in any case."""
        standing = catalog.feature_set_record(self.root)
        if standing is None:
            positions = position_encodings(self.encoder.tree, self.maps)
            vector = decoder_inputs(self.encoder.tree, self.weights).no_mem_embed if self.choice.for_decoder else None
            return claim_feature_set(
                self.root,
                settings=settings,
                maps=self.maps,
                positions=positions,
                no_mem_embed=None if vector is None else tuple(vector.flatten().tolist()),
            )
        require_same_settings(self.root, standing, settings)
        return standing


def feature_choice(features: FeaturesConfig) -> FeatureChoice:
    """What is kept of the encoder's output, as the configuration has it."""
    return FeatureChoice(
        kind=features.kind,
        dtypes=features.storage_dtype,
        levels=features.levels,
        layout=features.layout,
        grid=features.grid,
        pooling=features.pooling,
    )


def _extras(choice: FeatureChoice) -> dict[str, Any]:
    """What is set in few feature sets, and named in their settings alone: older sets lack it, and mean the same."""
    return {
        "levels": choice.levels and list(choice.levels),
        "layout": choice.layout if choice.layout != "blob" else None,
        "grid": choice.grid,
        "pooling": choice.pooling if choice.pooling != "mean" else None,
    }


def _parting(preprocess: WholeConfig | TilesConfig, side_px: int) -> Tiles | Frames | None:
    """How images become several rows; None where they do not."""
    if isinstance(preprocess, TilesConfig):
        return Tiles(tile_px=preprocess.tile_px, overlap_px=preprocess.overlap_px, side_px=side_px)
    return Frames() if preprocess.frames == "all" else None


def _parted(preprocess: WholeConfig | TilesConfig) -> dict[str, Any]:
    """What that means for the settings of a set; nothing in sets of whole images, as they always were."""
    if isinstance(preprocess, TilesConfig):
        return {"tiles": {"tile_px": preprocess.tile_px, "overlap_px": preprocess.overlap_px}}
    return {"frames": "all"} if preprocess.frames == "all" else {}


def decode_limits(config: JobConfig) -> DecodeLimits:
    """What one image may take, and how its pixels are made."""
    execution = config.execution
    return DecodeLimits(
        timeout_s=execution.decode_timeout_s,
        memory_bytes=int(execution.decode_memory_gib * 2**30),
        file_bytes=int(execution.decode_max_mib * 2**20),
        rules=PixelRules(config.preprocess.background, int(execution.decode_max_megapixels * 1e6)),
    )
