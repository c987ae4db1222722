"""Everything that a report says: gathered from a sealed feature set's records, tables and shards, and its images."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.exports.facts import UNKNOWN_LICENCE, Facts
from pipeline.exports.visible import VisibleRows
from pipeline.featureset import catalog
from pipeline.preprocessing.pixel_rules import USUAL, PixelRules
from pipeline.redaction import shown
from pipeline.report.charts import causes, causes_table, throughput
from pipeline.report.components import LevelPictures, level_pictures
from pipeline.report.expenses import expenses
from pipeline.report.failures import reasons
from pipeline.report.neighbours import nearest
from pipeline.report.pictures import Pictures
from pipeline.report.projection import plane
from pipeline.report.sample import Sample, spread
from pipeline.report.sheets import CELL_PX, CELLS_PER_SIDE, picture_uri, sheets
from pipeline.report.work import Work, work_of
from pipeline.storage.folder import Folder
from pipeline.storage.roots import Roots

_PICTURE_PX, _FAILED_PX = 256, 128
# Maps of so few cells are shown cell by cell.
_FEW_CELLS = 64
# From so many images on a second decoder is worth its two seconds of starting.
_MANY = 40


@dataclass(frozen=True)
class ReportSize:
    """How much a report shows.

    Attributes:
        images: on the map, with thumbnails and neighbours.
        gallery: of these, how many beside their features as pictures.
        neighbours: of each image.
    """

    images: int
    gallery: int
    neighbours: int = 8


def contents(
    root: Folder,
    size: ReportSize,
    *,
    dollars_per_gb_month: float,
    roots: Roots | None = None,
    until: float | None = None,
) -> dict[str, Any]:
    """What the page is made of, by the names that its template uses; every text is redacted.

    Args:
        root: of a sealed feature set.
        size: how much to show.
        dollars_per_gb_month: price of storage.
        roots: what may be read of images, if their URIs are not to be trusted; without them nothing of the web is.
        until: when to stop reading images, by the monotonic clock, in seconds.

    Raises:
        FeatureSetError: no feature set, none of its runs is sealed, or it is damaged.
        AccessDeniedError, StoreUnavailableError: it cannot be read.
    """
    facts, rows = Facts.of(root, UNKNOWN_LICENCE), VisibleRows(root.uri)
    sample, features = Sample.of(rows, size.images), rows.features()
    rules = PixelRules(tuple(facts.settings.get("preprocessing", {}).get("background", USUAL.background)))
    failed = _failed(features.quarantine, replace(rules, are_damaged_shown=True), roots=roots, until=until)
    num_decoders = 1 if len(sample.images) < _MANY else None
    with Pictures(_PICTURE_PX, rules=rules, num_decoders=num_decoders, roots=roots, until=until) as pictures:
        chosen = spread(len(sample.images), size.gallery)
        shown_images = _Squares(pictures, sample, chosen)
        made = list(sheets(shown_images))
        levels = level_pictures(features.maps, features.rows(sample.positions[chosen].tolist()))
    work = _last_work(root, facts)
    return {
        "facts": facts,
        "name": shown(facts.name),
        "uri": shown(root.uri),
        "code": _code(root.uri),
        "preprocessing": _preprocessing(facts.settings),
        "source": shown(_source(root, facts)),
        "num_images": len(rows),
        "num_shown": len(sample.images),
        "num_quarantined": features.quarantine.num_rows,
        "num_removed": catalog.removed_images(root, list(facts.runs)).num_rows,
        "reasons": failed,
        "gallery": _gallery(sample, shown_images, levels),
        "levels": levels,
        "sheets": made,
        "num_unreadable": len(shown_images.missing),
        "data": _data(sample, shown_images.missing, size.neighbours),
        "work": work and _work(work),
        "expenses": expenses(facts.runs, facts.record.maps, dollars_per_gb_month),
    }


class _Squares:
    """The pictures of a sample, one after the other; those of the gallery are kept, and why some are missing."""

    def __init__(self, pictures: Pictures, sample: Sample, chosen: np.ndarray) -> None:
        self._pictures, self._sample = pictures, sample
        self.kept: dict[int, np.ndarray | None] = dict.fromkeys(chosen.tolist())
        self.missing: dict[int, str] = {}

    def __iter__(self) -> Iterator[np.ndarray | None]:
        for number, square in enumerate(self._pictures.squares(self._sample.images)):
            if isinstance(square, str):
                self.missing[number] = square
                yield None
                continue
            if number in self.kept:
                self.kept[number] = square
            yield square


def _failed(
    quarantine: pa.Table, rules: PixelRules, *, roots: Roots | None, until: float | None
) -> list[dict[str, Any]]:
    """The reasons, whose examples have a `picture` where there is one after all."""
    failed = reasons(quarantine)
    examples = [example for reason in failed for example in reason["examples"] if example.pop("is_tried")]
    if not examples:
        return failed
    with Pictures(_FAILED_PX, rules=rules, num_decoders=1, roots=roots, until=until) as pictures:
        for example, square in zip(examples, pictures.squares(examples), strict=True):
            example["picture"] = None if isinstance(square, str) else picture_uri(square)
    return failed


def _gallery(sample: Sample, squares: _Squares, levels: Sequence[LevelPictures]) -> list[dict[str, Any]]:
    """What is shown of each image that is beside its features."""
    found = []
    for place, (number, square) in enumerate(squares.kept.items()):
        image = sample.images[number]
        found.append(
            {
                "number": number,
                "image_id": shown(image["image_id"]),
                "height": image["original_height"],
                "width": image["original_width"],
                "picture": None if square is None else picture_uri(square),
                "missing": squares.missing.get(number, ""),
                "levels": [
                    (level.column, picture_uri(level.pictures[place]), len(level.pictures[place]) <= _FEW_CELLS)
                    for level in levels
                ],
            }
        )
    return found


def _data(sample: Sample, missing: dict[int, str], num_neighbours: int) -> dict[str, Any]:
    """What the page's program works with, column by column, by the number of an image in the sample."""
    numbers, similarities = nearest(sample.vectors, num_neighbours)
    points, share_kept = plane(sample.vectors, numbers)
    return {
        "ids": [shown(image["image_id"]) for image in sample.images],
        "heights": [image["original_height"] for image in sample.images],
        "widths": [image["original_width"] for image in sample.images],
        "x": points[:, 0].round(4).tolist(),
        "y": points[:, 1].round(4).tolist(),
        "shareKept": share_kept,
        "nearest": numbers.tolist(),
        "similarities": similarities.round(4).tolist(),
        "missing": {str(number): reason for number, reason in missing.items()},
        "sheet": {"cellPx": CELL_PX, "cellsPerSide": CELLS_PER_SIDE},
    }


def _last_work(root: Folder, facts: Facts) -> Work | None:
    """Of the last run whose units wrote down how the work on them went."""
    found = (work_of(run.run, catalog.read_table(root, run.shards)) for run in reversed(facts.runs))
    return next((work for work in found if work is not None), None)


def _work(work: Work) -> dict[str, Any]:
    return {
        "run": work.run,
        "num_images": work.num_images,
        "wall_s": work.wall_s,
        "num_encoders": len(work.encoders),
        "throughput": throughput(work),
        "bars": causes(work.encoders),
        "causes": causes_table(work.seconds),
        "advice": work.advice,
    }


def _preprocessing(settings: dict[str, Any]) -> dict[str, str]:
    """What was done to the images before they were encoded, in words."""
    told = {key: value for key, value in settings.get("preprocessing", {}).items() if key != "side_px"}
    return {shown(key): shown(value if isinstance(value, str) else json.dumps(value)) for key, value in told.items()}


def _source(root: Folder, facts: Facts) -> str:
    source = catalog.run_record(root, facts.runs[-1].run).source
    return f"{source.get('kind', 'unknown')}: {source.get('uri')}" if source.get("uri") else str(source.get("kind"))


def _code(uri: str) -> str:
    return "\n".join(
        [
            "import pipeline",
            "",
            f"features = pipeline.open_features({shown(uri)!r})",
            "row = features[features.image_ids[0]]",
            "row.pooled, row.backbone_fpn  # tensors",
            "features.pooled               # image_id, embedding",
            "features.files                # plain Parquet",
        ]
    )
