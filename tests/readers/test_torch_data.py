"""Torch datasets: every item once, whoever shares the work, in whatever process."""

import pickle
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import distributed
from torch.utils.data import DataLoader

from pipeline.errors import ConfigError, FeatureSetError
from pipeline.readers.feature_set import FeatureSet, open_features
from pipeline.readers.torch_data import FeatureDataset, FeatureStream
from tests.faults.proxied import ProxiedBucket
from tests.small_set import COARSE, FINE, MAPS, SmallSet, map_values, original_size, pooled_values

IDS = [f"{unit}/{number}.jpg" for unit in range(5) for number in range(3)]
UNITS = [IDS[first : first + 3] for first in range(0, 15, 3)]


@pytest.fixture
def features(tmp_path: Path) -> FeatureSet:
    """Fifteen images in five shards."""
    made = SmallSet(tmp_path / "set")
    made.embed(UNITS)
    return open_features(made.uri)


def expected(image_id: str, spec=FINE) -> np.ndarray:
    return map_values(image_id, spec).astype("float16").transpose(2, 0, 1)


def check_item(item: dict[str, object], image_id: str) -> None:
    assert list(item) == ["image_id", "fpn_0", "fpn_1", "pooled", "original_size"]
    assert item["image_id"] == image_id
    for spec in MAPS:
        np.testing.assert_array_equal(item[spec.column], expected(image_id, spec), err_msg=image_id)
    np.testing.assert_array_equal(item["pooled"], pooled_values(image_id))
    assert item["original_size"].tolist() == list(original_size(image_id))


def ids_of(loader: DataLoader) -> list[str]:
    """The ids that a loader of batches, or of items, gives."""
    return [
        each for got in loader for each in ([got["image_id"]] if isinstance(got["image_id"], str) else got["image_id"])
    ]


def test_an_item_is_the_image_at_its_position_as_tensors(features: FeatureSet):
    dataset = FeatureDataset(features)
    assert len(dataset) == 15
    for position in (0, 7, 14):
        check_item(dataset[position], IDS[position])
    for nowhere in (15, -1):
        with pytest.raises(IndexError, match=f"no row {nowhere} among 15"):
            dataset[nowhere]


@pytest.mark.filterwarnings("error::UserWarning")
def test_the_default_collate_makes_batches_of_items(features: FeatureSet):
    batches = list(DataLoader(FeatureDataset(features), batch_size=4))
    assert [len(batch["image_id"]) for batch in batches] == [4, 4, 4, 3]
    first = batches[0]
    assert first["image_id"] == IDS[:4]
    assert {name: (tuple(first[name].shape), first[name].dtype) for name in first if name != "image_id"} == {
        "fpn_0": ((4, *FINE.shape_chw), torch.float16),
        "fpn_1": ((4, *COARSE.shape_chw), torch.float16),
        "pooled": ((4, 256), torch.float32),
        "original_size": ((4, 2), torch.int64),
    }
    np.testing.assert_array_equal(first["fpn_1"][3], expected(IDS[3], COARSE))


def test_a_selection_gives_items_of_those_maps(features: FeatureSet):
    item = FeatureDataset(features.select("fpn_1"))[3]
    assert list(item) == ["image_id", "fpn_1", "pooled", "original_size"]
    np.testing.assert_array_equal(item["pooled"], pooled_values(IDS[3]))


@pytest.mark.parametrize("start", ["fork", "spawn"])
@pytest.mark.parametrize("kind", [FeatureDataset, FeatureStream])
def test_workers_of_any_start_give_every_item_once_also_after_the_set_was_used(kind, start: str, features: FeatureSet):
    assert len(list(features.rows())) == 15  # threads, footers and indexes of this process
    loader = DataLoader(kind(features), batch_size=None, num_workers=2, multiprocessing_context=start)
    found = {item["image_id"]: item for item in loader}
    assert sorted(found) == IDS
    for image_id, item in found.items():
        check_item(item, image_id)


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_read_from_a_bucket_that_their_parent_has_read_from(start: str, store: ProxiedBucket):
    made = SmallSet(f"s3://{store.bucket}/set")
    made.embed(UNITS[:2])
    features = open_features(made.uri)
    assert features[IDS[0]].image_id == IDS[0]
    loader = DataLoader(FeatureDataset(features), batch_size=3, num_workers=2, multiprocessing_context=start)
    assert ids_of(loader) == IDS[:6]


@pytest.mark.parametrize("num_workers", [0, 1, 2])
@pytest.mark.parametrize("world_size", [1, 2, 7])
@pytest.mark.parametrize("seed", [None, 3])
def test_no_item_twice_and_none_missing_however_it_is_shared(
    num_workers: int, world_size: int, seed: int | None, features: FeatureSet
):
    ranks = [FeatureStream(features, shuffle_seed=seed, rank=rank, world_size=world_size) for rank in range(world_size)]
    parts = [ids_of(DataLoader(stream, batch_size=None, num_workers=num_workers)) for stream in ranks]
    assert Counter(each for part in parts for each in part) == Counter(IDS)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_without_a_seed_the_order_is_that_of_the_files(features: FeatureSet):
    parts = [[item["image_id"] for item in FeatureStream(features, rank=rank, world_size=4)] for rank in range(4)]
    assert [each for part in parts for each in part] == IDS


def test_an_order_depends_on_seed_and_epoch_and_is_the_same_again(features: FeatureSet):
    def order(seed: int, epoch: int) -> list[str]:
        stream = FeatureStream(features, shuffle_seed=seed)
        stream.set_epoch(epoch)
        return [item["image_id"] for item in stream]

    orders = {(seed, epoch): order(seed, epoch) for seed in (1, 2) for epoch in (0, 1)}
    assert all(sorted(each) == IDS for each in orders.values())
    assert len({tuple(each) for each in orders.values()}) == 4
    assert order(2, 1) == orders[2, 1]


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_that_live_on_see_the_epoch_change(start: str, features: FeatureSet):
    stream = FeatureStream(features, shuffle_seed=1)
    loader = DataLoader(stream, batch_size=None, num_workers=1, multiprocessing_context=start, persistent_workers=True)
    seen = []
    for epoch in (0, 1):
        stream.set_epoch(epoch)
        alone = FeatureStream(features, shuffle_seed=1)
        alone.set_epoch(epoch)
        seen.append(ids_of(loader))
        assert seen[-1] == [item["image_id"] for item in alone]
    assert seen[0] != seen[1]


def test_the_rank_is_that_of_torch_distributed(features: FeatureSet, tmp_path: Path):
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    try:
        assert len(list(FeatureStream(features))) == 15
        assert [item["image_id"] for item in FeatureStream(features, rank=2, world_size=5)] == IDS[6:9]
    finally:
        distributed.destroy_process_group()


RANK = """
import sys
from torch import distributed
from pipeline import open_features
from pipeline.readers.torch_data import FeatureStream

uri, meeting, rank = sys.argv[1:]
distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=int(rank), world_size=2)
ids = [item["image_id"] for item in FeatureStream(open_features(uri))]
distributed.barrier()
distributed.destroy_process_group()
print(*ids)
"""


def test_two_ranks_share_a_set(features: FeatureSet, tmp_path: Path):
    uri = str(Path(features.files[0]).parents[2])
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, uri, str(tmp_path / "meeting"), str(rank)], stdout=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    assert [rank.communicate()[0].split() for rank in ranks] == [IDS[:7], IDS[7:]]


@pytest.mark.parametrize(
    "part", [{"rank": 1}, {"world_size": 2}, {"rank": 2, "world_size": 2}, {"rank": -1, "world_size": 2}]
)
def test_half_of_a_part_or_none_that_is_there_is_refused(part: dict[str, int], features: FeatureSet):
    with pytest.raises(ConfigError, match="give both, ranks count from 0, or give neither"):
        FeatureStream(features, **part)


@pytest.mark.parametrize("kind", [FeatureDataset, FeatureStream])
def test_a_dataset_is_pickled_and_reads_on(kind, features: FeatureSet):
    arrived = pickle.loads(pickle.dumps(kind(features)))  # noqa: S301
    assert [item["image_id"] for item in DataLoader(arrived, batch_size=None)] == IDS


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_damaged_shard_is_named_in_the_loop(num_workers: int, features: FeatureSet):
    Path(features.files[2]).write_bytes(b"")
    loader = DataLoader(FeatureStream(features), batch_size=None, num_workers=num_workers)
    with pytest.raises(FeatureSetError, match=f"shard {features.files[2]} is damaged: it has 0 bytes"):
        list(loader)
