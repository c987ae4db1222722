"""A set to be timed is a feature set like any other."""

from pathlib import Path

import numpy as np
import torch

from pipeline.exports.fidelity_set import StoredSet
from pipeline.featureset.maps import MapSpec
from pipeline.maintenance.verify import verify
from pipeline.model.outputs import stored_features
from pipeline.storage.folder import Folder


def test_what_was_written_is_read_in_order_and_nothing_is_wrong_with_it(tmp_path: Path):
    spec = MapSpec("fpn_2", 2, (6, 4, 4), "float32", 16)
    levels = [torch.randn(1, 6, 4, 4) for _ in "ab"]
    features = [
        stored_features({"backbone_fpn": [None, None, each], "vision_features": each}, (spec,)) for each in levels
    ]
    stored = StoredSet(str(tmp_path), (spec,), None)
    assert stored.write([("b.jpg", (10, 20)), ("a.jpg", (30, 40))], features) > 0
    rows, seconds = stored.read()
    assert seconds > 0
    assert [(row.image_id, row.original_size) for row in rows] == [("b.jpg", (10, 20)), ("a.jpg", (30, 40))]
    for row, level in zip(rows, levels, strict=True):
        np.testing.assert_array_equal(row.maps["fpn_2"], level[0].numpy())
    assert verify(Folder(tmp_path), "sizes").findings == []
