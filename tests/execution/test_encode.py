"""Encoding, writing and committing a unit without Ray: idempotent, complete, and refusing what is not a number."""

import socket
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import pipeline
from pipeline.errors import FeatureSetError, SinkError, StoreUnavailableError
from pipeline.execution.audit import AuditPlan
from pipeline.execution.blocks import DecodedImage, DecodedUnit, Receipt
from pipeline.execution.encode import Command, EncodeAndWrite, EncoderSettings, SinkSettings
from pipeline.execution.plan import cut_units
from pipeline.featureset import catalog
from pipeline.featureset.index import index_table
from pipeline.model.build import decoder_inputs, load_encoder_config
from pipeline.model.outputs import FeatureChoice, map_specs, position_encodings
from pipeline.model.weights import resolve_weights
from pipeline.observability.accounting import Made
from pipeline.sinks.feature_sets import claim_feature_set
from pipeline.sinks.runs import claim_run
from pipeline.sinks.seal import seal_run
from pipeline.sources.image_ref import refs_batch
from pipeline.storage.folder import Folder
from tests.faults.faults import Answer, Reset
from tests.small_set import quarantine_row

NAMES = ["a.png", "b.png", "c.png"]
FPN = FeatureChoice()


class Prepared:
    """A claimed run of one unit, and the step that works on it."""

    def __init__(
        self,
        folder,
        *,
        choice=FPN,
        images_per_batch=2,
        positions_off_by=0.0,
        gate=None,
        audits=0,
    ):
        config = load_encoder_config("hiera_debug")
        self.maps = map_specs(config.tree, 64, choice)
        stored = {
            name: values + positions_off_by for name, values in position_encodings(config.tree, self.maps).items()
        }
        self.root = Folder(folder)
        weights = resolve_weights("random", config.name)
        vector = decoder_inputs(config.tree, weights).no_mem_embed if choice.for_decoder else None
        record = claim_feature_set(
            self.root,
            settings={"weights": {"kind": "random"}, "precision": "fp32"},
            maps=self.maps,
            positions=stored,
            no_mem_embed=None if vector is None else tuple(vector.flatten().tolist()),
        )
        plan = cut_units([refs_batch([(name, f"/photos/{name}", 1, "1") for name in NAMES])], 8)
        self.run = claim_run(
            self.root, run=1, fingerprint=record.fingerprint, source={"kind": "test"}, plan=plan, images_per_unit=8
        )
        self.encoder = EncoderSettings(
            tree=config.tree,
            weights=weights,
            device="cpu",
            precision="fp32",
            num_threads=1,
            images_per_batch=images_per_batch,
            side_px=64,
            for_decoder=choice.for_decoder,
        )
        self.sink = SinkSettings(self.root.uri, self.run.run, record, patience_s=30.0)
        self.step = EncodeAndWrite(encoder=self.encoder, sink=self.sink, audits=AuditPlan(audits, 1), gate=gate)

    def encode(self, pixels_NCHW: np.ndarray) -> Receipt:
        images = [DecodedImage(name, f"/photos/{name}", 10, 20) for name in NAMES]
        return self.receipt(DecodedUnit(0, images, pixels_NCHW, [], {"decode": 1.0}))

    def receipt(self, unit: DecodedUnit) -> Receipt:
        return Receipt.from_row(self.step(unit.to_block())["receipt"][0].as_py())

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
    prepared = Prepared(tmp_path, choice=FeatureChoice(kind, (dtype,)))
    receipt = prepared.encode(pixels_NCHW)
    assert (receipt.num_embedded, receipt.num_quarantined) == (3, 0)
    assert receipt.is_committed
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
    prepared = Prepared(tmp_path, choice=FeatureChoice("pooled"))
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
    assert receipt.failures == {"encode": {"NonFiniteFeatures": 1}}
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


def test_a_commit_holds_what_the_index_needs(tmp_path, pixels_NCHW):
    pixels_NCHW[0, 0, 0, 0] = np.inf
    prepared = Prepared(tmp_path, images_per_batch=1)
    prepared.encode(pixels_NCHW)
    commit = catalog.commit_record(prepared.root, 1, 0)
    index = index_table(commit)
    assert index["image_id"].to_pylist() == ["b.png", "c.png"]
    stored = pq.ParquetFile(tmp_path / commit.shard.name).read(["image_id", "uri", "original_height", "embedding"])
    assert index.select(stored.column_names).to_pydict() == stored.to_pydict()


def test_a_commit_tells_where_its_unit_was_decoded_and_encoded(tmp_path, pixels_NCHW):
    prepared = Prepared(tmp_path)
    audits = AuditPlan(0, 1)
    prepared.step = EncodeAndWrite(
        encoder=prepared.encoder, sink=prepared.sink, audits=audits, where=lambda: "encoding node"
    )
    images = [DecodedImage(name, f"/photos/{name}", 10, 20) for name in NAMES]
    prepared.receipt(DecodedUnit(0, images, pixels_NCHW, [], made=Made(1.0, 2.0, 3.0, "decoding node")))
    work = catalog.commit_record(prepared.root, 1, 0).work
    assert (work.node, work.decoded_on) == ("encoding node", "decoding node")


def test_quarantine_rows_of_the_first_step_are_committed_with_the_unit(tmp_path, pixels_NCHW):
    prepared = Prepared(tmp_path)
    images = [DecodedImage(name, f"/photos/{name}", 10, 20) for name in NAMES[:2]]
    receipt = prepared.receipt(DecodedUnit(0, images, pixels_NCHW[:2], [quarantine_row("c.png")]))
    assert (receipt.num_embedded, receipt.num_quarantined) == (2, 1)
    assert receipt.example == "c.png: c.png ends too early"
    assert prepared.opened().quarantine["image_id"].to_pylist() == ["c.png"]


def test_a_unit_that_somebody_else_has_committed_is_receipted_as_committed(tmp_path, pixels_NCHW):
    prepared = Prepared(tmp_path)
    done = DecodedUnit(0, [], pixels_NCHW[:0], [], is_committed=True)
    with pytest.raises(SinkError, match="something deletes in the sink"):
        prepared.receipt(done)
    first = prepared.encode(pixels_NCHW)
    again = prepared.receipt(done)
    assert (again.is_committed, again.num_embedded, again.size_bytes) == (True, 3, first.size_bytes)


def test_a_receipt_says_whether_the_command_itself_has_committed_the_unit(tmp_path, pixels_NCHW):
    prepared = Prepared(tmp_path)
    first, again = prepared.encode(pixels_NCHW), prepared.encode(pixels_NCHW)
    assert (first.is_own, again.is_own) == (True, True), "Ray may try a unit again that was committed"
    other = replace(prepared.sink, command=Command("another", 0.0))
    prepared.step = EncodeAndWrite(encoder=prepared.encoder, sink=other, audits=AuditPlan(0, 1))
    found = prepared.encode(pixels_NCHW)
    assert (found.is_committed, found.is_own, found.shard) == (True, False, first.shard)


def test_a_receipt_says_where_the_unit_was_embedded_and_what_was_fetched_for_it(tmp_path, pixels_NCHW):
    images = [DecodedImage(name, f"/photos/{name}", 10, 20) for name in NAMES]
    told = {"fetched_bytes": 1234, "retries": {"storage": 0, "decoder": 2}}
    receipt = Prepared(tmp_path).receipt(DecodedUnit(0, images, pixels_NCHW, [], **told))
    assert (receipt.host, receipt.fetched_bytes) == (socket.gethostname(), 1234)
    assert receipt.retries == {"storage": 0, "decoder": 2}
    assert (tmp_path / receipt.shard).stat().st_size == receipt.size_bytes


class Door:
    """A gate that counts."""

    def __init__(self, *, is_open: bool) -> None:
        self.is_open, self.entered, self.left = is_open, list[int](), list[int]()

    def enter(self, unit: int) -> bool:
        self.entered += [unit] if self.is_open else []
        return self.is_open

    def leave(self, unit: int) -> None:
        self.left.append(unit)


def test_the_gate_is_told_of_every_unit_that_begins_and_ends_also_in_an_error(tmp_path, pixels_NCHW):
    door = Door(is_open=True)
    prepared = Prepared(tmp_path, gate=door)
    assert prepared.encode(pixels_NCHW).is_committed
    with pytest.raises(SinkError):
        prepared.receipt(DecodedUnit(1, [], pixels_NCHW[:0], [], is_committed=True))
    assert (door.entered, door.left) == ([0, 1], [0, 1])


def test_behind_a_closed_gate_nothing_is_done(tmp_path, pixels_NCHW):
    door = Door(is_open=False)
    prepared = Prepared(tmp_path, gate=door)
    receipt = prepared.encode(pixels_NCHW)
    assert (receipt.is_committed, receipt.num_embedded, receipt.num_quarantined) == (False, 0, 0)
    assert (door.entered, door.left) == ([], [])
    assert catalog.committed_units(prepared.root, 1).tolist() == []
    assert not (tmp_path / "shards").exists()


def test_a_receipt_says_how_often_the_store_was_asked_again_and_each_is_told_of_once(store, pixels_NCHW):
    prepared = Prepared(f"s3://{store.bucket}/set")
    store.proxy.install(Answer(503, operation="PutObject", first=2))
    assert prepared.encode(pixels_NCHW).retries == {"storage": 2}
    assert prepared.encode(pixels_NCHW).retries == {"storage": 0}


@pytest.mark.parametrize("place", ["before", "after"])
def test_a_unit_is_written_to_a_bucket_once_whatever_is_lost(place, store, pixels_NCHW):
    prepared = Prepared(f"s3://{store.bucket}/set")
    for operation in ("PutObject", "GetObject"):
        store.proxy.install(Reset(operation=operation, first=1, place=place))
    receipt = prepared.encode(pixels_NCHW)
    assert receipt.num_embedded == 3
    again = prepared.encode(pixels_NCHW)
    assert again.size_bytes == receipt.size_bytes
    keys = store.keys()
    assert len([key for key in keys if "/shards/" in key]) == 1, keys
    assert prepared.opened().image_ids == NAMES


def test_a_bucket_that_stays_in_trouble_ends_the_unit_and_the_next_try_finds_a_free_way(store, pixels_NCHW):
    prepared = Prepared(f"s3://{store.bucket}/set")
    impatient = EncodeAndWrite(
        encoder=prepared.encoder,
        sink=replace(prepared.sink, patience_s=0.1),
        audits=AuditPlan(0, 1),
        gate=(door := Door(is_open=True)),
    )
    images = [DecodedImage(name, f"/photos/{name}", 10, 20) for name in NAMES]
    store.proxy.install(Answer(503, operation="PutObject"))
    with pytest.raises(StoreUnavailableError):
        impatient(DecodedUnit(0, images, pixels_NCHW, []).to_block())
    assert (door.entered, door.left) == ([0], [0])
    store.proxy.clear()
    assert prepared.encode(pixels_NCHW).num_embedded == 3


def test_audited_images_are_committed_with_their_errors_and_sealed_with_the_worst(tmp_path, pixels_NCHW):
    pixels_NCHW[0, 0, 0, 0] = np.nan
    prepared = Prepared(tmp_path, audits=3)
    receipt = prepared.encode(pixels_NCHW)
    assert receipt.seconds["audit"] > 0
    commit = catalog.commit_record(prepared.root, 1, 0)
    assert [row.image_id for row in commit.audit] == ["b.png", "c.png"], "an image without features has none to audit"
    manifest = seal_run(prepared.root, prepared.run)
    assert manifest.audit.num_images == 2
    assert set(manifest.audit.errors) == {"fpn_0", "fpn_1", "fpn_2", "embedding"}
    assert all(0 < error < 1e-3 for error in manifest.audit.errors.values()), manifest.audit


@pytest.mark.parametrize("dtypes", [("float32",), ("int8", "float16", "float32")], ids=str)
@pytest.mark.parametrize("layout", ["blob", "tensor"])
def test_what_the_mask_decoder_takes_is_stored_and_audited(tmp_path, pixels_NCHW, dtypes, layout):
    prepared = Prepared(tmp_path, choice=FeatureChoice("decoder", dtypes, layout=layout, grid=4), audits=1)
    prepared.encode(pixels_NCHW)
    features = prepared.opened()
    (audit,) = features.metadata["runs"]
    assert set(audit["audit"]["errors"]) == {"high_res_0", "high_res_1", "fpn_2", "grid", "embedding"}
    tree, random = load_encoder_config("hiera_debug").tree, resolve_weights("random", "hiera_debug")
    inputs = decoder_inputs(tree, random)
    with torch.inference_mode():
        plain = pipeline.build_encoder("hiera_debug", checkpoint="random")(torch.tensor(pixels_NCHW))["backbone_fpn"]
        fine = [inputs.sam_mask_decoder[f"conv_s{level}"](plain[level])[1] for level in (0, 1)]
    row, tolerance = features["b.png"], 1e-5 if len(dtypes) == 1 else 0.02
    for own, expected in zip(row.backbone_fpn, [*fine, plain[2][1]], strict=True):
        assert float((own - expected).norm() / expected.norm()) < tolerance
    with_memory = plain[2][1] + inputs.no_mem_embed.flatten()[:, None, None]
    for own, expected in zip(row.image_embeddings, [*fine, with_memory], strict=True):
        assert own.dtype == torch.float32
        assert float((own - expected).norm() / expected.norm()) < tolerance
    assert tuple(row.grid.shape) == (256, 4, 4)
    assert len(row.vision_pos_enc) == 3
