"""What a finished feature set must be, computed the short way: no Ray, no shards, one image at a time."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import pipeline
from pipeline.featureset import catalog
from pipeline.readers.row import FeatureRow
from pipeline.storage.folder import Folder


@dataclass(frozen=True)
class Difference:
    """The ids that a feature set lacks, has more than once (or never should have), or has with other features."""

    lost: list[str]
    duplicated: list[str]
    wrong: list[str]

    def __bool__(self) -> bool:
        return bool(self.lost or self.duplicated or self.wrong)


def difference(sink: Path | str, folder: Path, names: Sequence[str]) -> Difference:
    """A set of `hiera_debug` with random weights against an encoder of the same precision on the plain files."""
    record = catalog.feature_set_record(Folder(sink))
    assert record is not None, f"{sink} holds no feature set"
    encoder = pipeline.build_encoder("hiera_debug", checkpoint="random", precision=record.settings["precision"])
    features = pipeline.open_features(str(sink))
    held, wanted = Counter(features.image_ids), Counter(names)
    wrong = []
    for name in (wanted & held).elements():
        with torch.inference_mode():
            expected = encoder(pipeline.preprocess(folder / name, side_px=128)[None])
            # Stored in float32, whatever the dtypes of the levels are.
            expected["vision_pos_enc"] = [encoder.neck.position_encoding(each) for each in expected["backbone_fpn"]]
        reason = _wrong(features[name], expected)
        if reason:
            wrong.append(f"{name}: {reason}")
    return Difference(sorted((wanted - held).elements()), sorted((held - wanted).elements()), wrong)


def _wrong(row: FeatureRow, expected: dict[str, object]) -> str:
    for level, (stored, own) in enumerate(zip(row.backbone_fpn, expected["backbone_fpn"], strict=True)):
        error = torch.linalg.norm(stored.float() - own[0].float()) / torch.linalg.norm(own[0].float())
        if not error < 1e-3:
            return f"level {level}: relative error {error:.2e} is more than float16 makes"
    for stored, own in zip(row.vision_pos_enc, expected["vision_pos_enc"], strict=True):
        if not np.allclose(stored.numpy(), own[0].numpy(), atol=1e-6):
            return "another position encoding"
    pooled = torch.nn.functional.normalize(expected["vision_features"][0].float().mean(dim=(1, 2)), dim=0)
    return "" if np.allclose(row.pooled.numpy(), pooled.numpy(), atol=1e-5) else "another pooled vector"
