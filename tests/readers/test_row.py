"""A row: tensors in SAM 2's order and shapes, views of what was read."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.errors import FeatureSetError
from pipeline.featureset.maps import MapSpec
from pipeline.readers.feature_set import open_features
from pipeline.readers.row import FeatureRow
from tests.small_set import COARSE, FINE, MAPS, SmallSet, map_values, original_size, pooled_values


def row_of(tmp_path: Path, *maps: object) -> FeatureRow:
    small = SmallSet(tmp_path / "set", maps=maps)  # type: ignore[arg-type]
    small.embed([["a", "b"]])
    return open_features(small.uri)["b"]


def test_a_row_holds_what_was_embedded_from_high_to_low_resolution(tmp_path: Path):
    row = row_of(tmp_path, *MAPS)
    assert [tuple(level.shape) for level in row.backbone_fpn] == [(4, 8, 6), (5, 4, 3)]
    for level, spec in zip(row.backbone_fpn, MAPS, strict=True):
        assert level.dtype == torch.float16
        expected = map_values("b", spec).astype("float16").transpose(2, 0, 1)
        np.testing.assert_array_equal(level.numpy(), expected)


def test_vision_features_is_the_level_of_lowest_resolution(tmp_path: Path):
    row = row_of(tmp_path, *MAPS)
    torch.testing.assert_close(row.vision_features, row.backbone_fpn[-1], rtol=0, atol=0)
    assert tuple(row.vision_features.shape) == COARSE.shape_chw


def test_position_encodings_come_with_every_row_in_the_same_order(tmp_path: Path):
    row = row_of(tmp_path, *MAPS)
    assert [tuple(level.shape) for level in row.vision_pos_enc] == [(4, 8, 6), (5, 4, 3)]
    for level, spec in zip(row.vision_pos_enc, MAPS, strict=True):
        assert level.dtype == torch.float32
        np.testing.assert_array_equal(level.numpy(), map_values("position", spec).transpose(2, 0, 1))


def test_the_pooled_vector_is_256_floats_of_length_one(tmp_path: Path):
    pooled = row_of(tmp_path, *MAPS).pooled
    assert (tuple(pooled.shape), pooled.dtype) == ((256,), torch.float32)
    np.testing.assert_array_equal(pooled.numpy(), pooled_values("b"))
    assert pooled.norm().item() == pytest.approx(1)


def test_the_original_size_is_height_and_width(tmp_path: Path):
    row = row_of(tmp_path, *MAPS)
    assert row.original_size == original_size("b")
    assert row.image_id == "b"


def test_a_set_of_one_level_gives_that_level(tmp_path: Path):
    row = row_of(tmp_path, COARSE)
    assert [tuple(level.shape) for level in row.backbone_fpn] == [COARSE.shape_chw]
    assert tuple(row.vision_features.shape) == COARSE.shape_chw
    assert len(row.vision_pos_enc) == 1


def test_a_set_of_pooled_vectors_says_that_it_has_no_maps(tmp_path: Path):
    row = row_of(tmp_path)
    assert row.backbone_fpn == row.vision_pos_enc == []
    assert tuple(row.pooled.shape) == (256,)
    with pytest.raises(FeatureSetError, match=r"pooled vectors only: row\.pooled, or embed with features=fpn"):
        _ = row.vision_features


@pytest.mark.filterwarnings("error")
def test_tensors_come_without_warnings_and_without_copies(tmp_path: Path):
    row = row_of(tmp_path, *MAPS)
    assert row.backbone_fpn[0].data_ptr() == row.backbone_fpn[0].data_ptr() == row.maps["fpn_0"].ctypes.data


def test_a_row_goes_to_other_processes(tmp_path: Path):
    row = row_of(tmp_path, *MAPS)
    arrived = pickle.loads(pickle.dumps(row))  # noqa: S301
    assert repr(arrived) == repr(row)
    torch.testing.assert_close(arrived.backbone_fpn, row.backbone_fpn, rtol=0, atol=0)
    torch.testing.assert_close(arrived.vision_pos_enc, row.vision_pos_enc, rtol=0, atol=0)


def test_a_row_shows_id_size_and_shapes_not_numbers(tmp_path: Path):
    text = repr(row_of(tmp_path, FINE))
    assert text == f"FeatureRow('b', original_size={original_size('b')}, maps: (4, 8, 6))"


def decoder_row(tmp_path: Path, *, no_mem_embed: tuple[float, ...] | None = (1.0, 2.0), columns: int = 3) -> FeatureRow:
    shapes = {"high_res_0": (3, 8, 8), "high_res_1": (4, 4, 4), "fpn_2": (2, 2, 2)}
    maps = tuple(MapSpec(name, level, shape, "float16", 4) for level, (name, shape) in enumerate(shapes.items()))
    small = SmallSet(tmp_path / "set", maps=maps[:columns], no_mem_embed=no_mem_embed)
    small.embed([["a", "b"]])
    return open_features(small.uri)["b"]


def test_what_the_mask_decoder_takes_has_no_mem_embed_added_once(tmp_path: Path):
    row = decoder_row(tmp_path)
    *fine, coarse = row.image_embeddings
    for own, plain in zip(fine, row.backbone_fpn[:2], strict=True):
        torch.testing.assert_close(own, plain.float(), rtol=0, atol=0)
    added = coarse - row.backbone_fpn[2].float()
    torch.testing.assert_close(added, torch.tensor([1.0, 2.0])[:, None, None].expand(2, 2, 2), rtol=0, atol=2e-3)


def test_a_set_of_plain_levels_says_how_to_get_what_the_mask_decoder_takes(tmp_path: Path):
    with pytest.raises(FeatureSetError, match="embed with features=decoder"):
        _ = decoder_row(tmp_path, no_mem_embed=None).image_embeddings


def test_a_set_that_lacks_a_level_of_the_decoder_names_it(tmp_path: Path):
    with pytest.raises(FeatureSetError, match="takes three maps, and fpn_2 is not among those here"):
        _ = decoder_row(tmp_path, columns=2).image_embeddings


def test_a_set_without_a_grid_says_how_to_get_one(tmp_path: Path):
    row = row_of(tmp_path, COARSE, MapSpec("grid", 1, (5, 4, 4), "float16", 16))
    assert tuple(row.grid.shape) == (5, 4, 4)
    assert [tuple(level.shape) for level in row.backbone_fpn] == [COARSE.shape_chw], "the grid is no level"
    with pytest.raises(FeatureSetError, match=r"embed with features\.grid=4 or 8"):
        _ = decoder_row(tmp_path / "other").grid
