"""Encoding, writing and committing a unit without Ray: idempotent, complete, and refusing what is not a number."""

import numpy as np
import pytest
import torch

import pipeline
from pipeline.errors import FeatureSetError
from pipeline.execution.blocks import DecodedImage, DecodedUnit, Receipt
from pipeline.execution.encode import EncodeAndWrite, EncoderSettings, SinkSettings
from pipeline.execution.plan import cut_units
from pipeline.featureset import catalog
from pipeline.model.build import load_encoder_config
from pipeline.model.outputs import map_specs, position_encodings
from pipeline.model.weights import resolve_weights
from pipeline.sinks.feature_sets import claim_feature_set
from pipeline.sinks.runs import claim_run
from pipeline.sinks.seal import seal_run
from pipeline.sources.image_ref import ImageRef
from pipeline.storage import Folder

NAMES = ["a.png", "b.png", "c.png"]


class Prepared:
    """A claimed run of one unit, and the step that works on it."""

    def __init__(self, folder, *, kind="fpn", dtype="float16", images_per_batch=2, positions_off_by=0.0):
        config = load_encoder_config("hiera_debug")
        self.maps = map_specs(config.tree, side_px=64, kind=kind, dtype=dtype)
        stored = {
            name: values + positions_off_by for name, values in position_encodings(config.tree, self.maps).items()
        }
        self.root = Folder(folder)
        record = claim_feature_set(
            self.root, settings={"weights": {"kind": "random"}}, maps=self.maps, positions=stored
        )
        plan = cut_units([ImageRef(name, f"/photos/{name}", 1, "1") for name in NAMES], 8)
        self.run = claim_run(self.root, run=1, fingerprint=record.fingerprint, source={"kind": "test"}, plan=plan)
        encoder = EncoderSettings(
            tree=config.tree,
            weights=resolve_weights("random", config.name),
            device="cpu",
            precision="fp32",
            num_threads=1,
            images_per_batch=images_per_batch,
        )
        self.step = EncodeAndWrite(encoder=encoder, sink=SinkSettings(self.root.uri, self.run.run, record))

    def encode(self, pixels_NCHW: np.ndarray) -> Receipt:
        images = [DecodedImage(name, f"/photos/{name}", 10, 20) for name in NAMES]
        block = self.step(DecodedUnit(0, images, pixels_NCHW, [], {"decode": 1.0}).to_block())
        return Receipt.from_row(block["receipt"][0].as_py())

    def opened(self):
        seal_run(self.root, self.run)
        return pipeline.open_features(self.root.uri)


@pytest.fixture
def pixels_NCHW():
    return np.random.default_rng(3).standard_normal((3, 3, 64, 64), dtype=np.float32)


@pytest.mark.parametrize(
    ("kind", "dtype", "levels", "tolerance"),
    [("fpn", "float16", [0, 1, 2], 1e-3), ("fpn", "float32", [0, 1, 2], 1e-5), ("embed", "float16", [2], 1e-3)],
)
def test_what_is_stored_is_what_the_encoder_gives(tmp_path, pixels_NCHW, kind, dtype, levels, tolerance):
    prepared = Prepared(tmp_path, kind=kind, dtype=dtype)
    receipt = prepared.encode(pixels_NCHW)
    assert (receipt.num_embedded, receipt.num_quarantined) == (3, 0)
    assert receipt.seconds["decode"] == 1.0
    expected = pipeline.build_encoder("hiera_debug", checkpoint="random")(torch.tensor(pixels_NCHW))
    features = prepared.opened()
    assert features.image_ids == NAMES
    for place, name in enumerate(NAMES):
        row = features[name]
        assert row.original_size == (10, 20)
        assert [map_.dtype for map_ in row.backbone_fpn] == [getattr(torch, dtype)] * len(levels)
        for stored, level in zip(row.backbone_fpn, levels, strict=True):
            own = expected["backbone_fpn"][level][place]
            error = float(torch.linalg.norm(stored.float() - own) / torch.linalg.norm(own))
            assert error < tolerance, (name, level, error)
        torch.testing.assert_close(row.vision_features, row.backbone_fpn[-1])


def test_pooled_sets_hold_vectors_only(tmp_path, pixels_NCHW):
    prepared = Prepared(tmp_path, kind="pooled")
    prepared.encode(pixels_NCHW)
    row = prepared.opened()["b.png"]
    assert row.backbone_fpn == []
    assert row.vision_pos_enc == []
    assert float(row.pooled.norm()) == pytest.approx(1, abs=1e-5)
    with pytest.raises(FeatureSetError, match="pooled vectors only"):
        _ = row.vision_features


def test_the_same_unit_twice_is_committed_once(tmp_path, pixels_NCHW):
    prepared = Prepared(tmp_path)
    first = prepared.encode(pixels_NCHW)
    commit = catalog.commit_record(prepared.root, 1, 0)
    again = prepared.encode(pixels_NCHW)
    assert catalog.commit_record(prepared.root, 1, 0) == commit
    assert (again.num_embedded, again.size_bytes) == (first.num_embedded, first.size_bytes)
    assert len(list((tmp_path / "shards").rglob("*.parquet"))) == 1


def test_features_that_are_not_finite_are_refused_image_by_image(tmp_path, pixels_NCHW):
    pixels_NCHW[1, 0, 0, 0] = np.nan
    prepared = Prepared(tmp_path)
    receipt = prepared.encode(pixels_NCHW)
    assert (receipt.num_embedded, receipt.num_quarantined) == (2, 1)
    features = prepared.opened()
    assert features.image_ids == ["a.png", "c.png"]
    assert features.quarantine.to_pylist()[0] | {"message": ""} == {
        "image_id": "b.png",
        "uri": "/photos/b.png",
        "stage": "encode",
        "error_class": "permanent",
        "error_type": "NonFiniteFeatures",
        "message": "",
    }


def test_a_unit_without_a_good_image_is_committed_without_a_shard(tmp_path, pixels_NCHW):
    prepared = Prepared(tmp_path)
    receipt = prepared.encode(np.full_like(pixels_NCHW, np.nan))
    assert (receipt.num_embedded, receipt.num_quarantined, receipt.size_bytes) == (0, 3, 0)
    assert list(tmp_path.rglob("shards/**/*.parquet")) == []
    assert len(prepared.opened()) == 0


def test_position_encodings_of_another_encoder_are_refused(tmp_path, pixels_NCHW):
    with pytest.raises(FeatureSetError, match="not this encoder's"):
        Prepared(tmp_path, positions_off_by=1e-3).encode(pixels_NCHW)
