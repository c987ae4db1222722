"""Feature sets of real image files, whose maps and vectors are made of their pixels, written by the real sinks."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.featureset.maps import MapSpec
from pipeline.featureset.records import QuarantineRow, UnitWork
from pipeline.observability.accounting import ACTIVITIES, PAUSES
from pipeline.sinks.shards import EmbeddedImages
from tests.small_set import SmallSet

FINE = MapSpec("fpn_0", 0, (6, 160, 160), "float16", 4)
COARSE = MapSpec("fpn_1", 1, (6, 16, 16), "float16", 40)
PER_UNIT = 6


def colours(path: Path, side: int) -> np.ndarray:
    """(side, side, 6) float32: the image's colours, and those weighed against each other."""
    with Image.open(path) as image:
        rgb = np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BOX), np.float32) / 255
    return np.concatenate([rgb, rgb[..., [1, 2, 0]] - 0.5 * rgb], axis=2)


class PicturedSet(SmallSet):
    """Of the images in a folder."""

    def __init__(self, place: Path | str, folder: Path, maps: tuple[MapSpec, ...] = (FINE, COARSE)) -> None:
        super().__init__(place, maps)
        self.folder = folder

    def quarantined(self, image_id: str) -> QuarantineRow:
        """Why one has no features."""
        return super().quarantined(image_id).model_copy(update={"uri": str(self.folder / image_id)})

    def work(self, unit: int) -> UnitWork:
        """By one encoder."""
        return unit_work(unit)

    def images(self, ids: Sequence[str], version: str = "1") -> EmbeddedImages:
        """Their features: colours, and a vector of coarse colours."""
        assert version
        paths = [self.folder / each for each in ids]
        vectors = np.stack([np.resize(colours(path, 8) - 0.4, 256) for path in paths])
        sizes = []
        for path in paths:
            with Image.open(path) as image:
                sizes.append((image.height, image.width))
        return EmbeddedImages(
            image_ids=list(ids),
            uris=[str(path) for path in paths],
            original_sizes=sizes,
            maps={spec.column: np.stack([colours(path, spec.shape_chw[1]) for path in paths]) for spec in self.maps},
            embeddings=(vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32),
        )


def unit_work(
    unit: int, command: str = "c1", encoder: str = "e1", *, began: float = 1000.0, place: int | None = None
) -> UnitWork:
    """How the work on a unit went, by an encoder that starts for 4 s and then takes 10 s a unit.

    Args:
        unit: its number.
        command: that it was embedded by; it began a second before its encoders.
        encoder: that it was embedded by.
        began: when that encoder began, in seconds since 1970.
        place: how many units the encoder had done before; None: all that come before this one.
    """
    done = (unit if place is None else place) + 1
    account = dict.fromkeys([*ACTIVITIES, *PAUSES[:-1]], 0.0)
    account |= {"start": 4.0, "compute": 8.0 * done, "upload": 2.0 * done}
    return UnitWork(
        command=command,
        command_began=began - 1,
        encoder=encoder,
        began=began,
        until=began + 4 + 10 * done,
        account=account,
        seconds={},
    )
