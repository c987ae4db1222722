"""A map is stored as plain bytes or as a tensor, as floats or as scaled integers, and comes back in (C, H, W)."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.featureset.maps import GRID, MapSpec, level_maps, position_spec, scaled
from pipeline.readers.feature_set import open_features
from tests.small_set import COARSE, FINE, SmallSet, map_values, stored_values


def spec_of(dtype: str, layout: str = "blob") -> MapSpec:
    return MapSpec("fpn_0", 0, (4, 8, 6), dtype, 4, layout)


def quantised(values_NHWC: np.ndarray) -> dict[str, np.ndarray]:
    scale_NC = np.abs(values_NHWC).max(axis=(1, 2)) / np.float32(127)
    return {"fpn_0": np.rint(values_NHWC / scale_NC[:, None, None]).astype(np.int8), "fpn_0_scale": scale_NC}


def table(spec: MapSpec, stored: dict[str, np.ndarray]) -> pa.Table:
    return pa.Table.from_arrays(spec.arrays(stored), schema=pa.schema(spec.fields()))


@pytest.mark.parametrize("layout", ["blob", "tensor"])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_maps_come_back_from_parquet_as_they_were_stored(tmp_path: Path, dtype: str, layout: str):
    spec = spec_of(dtype, layout)
    values_NHWC = np.stack([map_values(name, spec) for name in "abc"])
    pq.write_table(table(spec, {"fpn_0": values_NHWC}), tmp_path / "maps.parquet")
    read_NCHW = spec.read(pq.read_table(tmp_path / "maps.parquet"))
    assert read_NCHW.dtype == dtype
    np.testing.assert_array_equal(read_NCHW, values_NHWC.astype(dtype).transpose(0, 3, 1, 2))
    assert spec.size_bytes == 4 * 8 * 6 * np.dtype(dtype).itemsize


@pytest.mark.parametrize("layout", ["blob", "tensor"])
def test_scaled_integers_come_back_as_what_they_stand_for(tmp_path: Path, layout: str):
    spec = spec_of("int8", layout)
    values_NHWC = np.stack([map_values(name, spec) * (1 + place) for place, name in enumerate("abc")])
    stored = quantised(values_NHWC)
    pq.write_table(table(spec, stored), tmp_path / "maps.parquet")
    read_NCHW = spec.read(pq.read_table(tmp_path / "maps.parquet"))
    assert read_NCHW.dtype == np.float32
    np.testing.assert_array_equal(read_NCHW.transpose(0, 2, 3, 1), scaled(stored["fpn_0"], stored["fpn_0_scale"]))
    step_NC11 = stored["fpn_0_scale"][:, :, None, None]
    assert (np.abs(read_NCHW - values_NHWC.transpose(0, 3, 1, 2)) <= 0.5001 * step_NC11).all()
    assert (spec.names, spec.size_bytes) == (["fpn_0", "fpn_0_scale"], 4 * 8 * 6 + 4 * 4)


@pytest.mark.parametrize("layout", ["blob", "tensor"])
def test_a_slice_of_a_column_is_read_from_its_place(layout: str):
    spec = spec_of("float16", layout)
    values_NHWC = np.stack([stored_values(name, spec) for name in "abcd"])
    part = table(spec, {"fpn_0": values_NHWC}).slice(1, 2)
    np.testing.assert_array_equal(spec.read(part), values_NHWC[1:3].transpose(0, 3, 1, 2))
    both = pa.concat_tables([part, table(spec, {"fpn_0": values_NHWC}).slice(0, 1)])
    np.testing.assert_array_equal(spec.read(both), values_NHWC[[1, 2, 0]].transpose(0, 3, 1, 2))


def test_the_bytes_of_a_map_are_height_width_channel_and_little_endian():
    spec = MapSpec("fpn_0", 0, (2, 1, 2), "float32", 4)
    values_NHWC = np.array([[[[1.0, 2.0], [3.0, 4.0]]]], dtype=">f4")
    (column,) = spec.arrays({"fpn_0": values_NHWC})
    assert column[0].as_py() == np.array([1, 2, 3, 4], "<f4").tobytes()


def test_a_map_from_transposed_memory_is_stored_in_order():
    values_HWC = map_values("a", FINE)
    turned = np.ascontiguousarray(values_HWC.transpose(2, 0, 1)).transpose(1, 2, 0)
    (column,) = FINE.arrays({"fpn_0": turned[None]})
    assert column[0].as_py() == stored_values("a", FINE).tobytes()


@pytest.mark.parametrize("layout", ["blob", "tensor"])
def test_reading_and_storing_floats_copies_nothing(layout: str):
    spec = spec_of("float16", layout)
    values_NHWC = stored_values("a", spec)[None]
    read_NCHW = spec.read(table(spec, {"fpn_0": values_NHWC}))
    assert np.shares_memory(read_NCHW, values_NHWC)
    assert not spec.read(pa.concat_tables([table(spec, {"fpn_0": values_NHWC})] * 2)).flags.writeable


def test_floats_are_no_integers_and_shapes_must_fit():
    with pytest.raises(ValueError, match="fpn_0 holds int8, and float32 would be cut off"):
        spec_of("int8").arrays({"fpn_0": map_values("a", FINE)[None], "fpn_0_scale": np.ones((1, 4), np.float32)})
    with pytest.raises(ValueError, match=r"fpn_0 holds numbers of shape \(8, 6, 4\), not \(4, 3, 5\)"):
        FINE.arrays({"fpn_0": map_values("a", COARSE)[None]})


def test_tensor_columns_are_canonical_and_say_their_shape(tmp_path: Path):
    small = SmallSet(tmp_path / "set", maps=(spec_of("float16", "tensor"),))
    small.embed([["a", "b"]])
    (shard,) = (tmp_path / "set/shards").rglob("*.parquet")
    field = pq.read_schema(shard).field("fpn_0")
    assert (field.type.extension_name, field.type.shape) == ("arrow.fixed_shape_tensor", [8, 6, 4])
    assert field.type.dim_names == ["height", "width", "channel"]
    assert pq.ParquetFile(shard).metadata.num_row_groups == 2
    row = open_features(small.uri)["b"]
    np.testing.assert_array_equal(row.maps["fpn_0"], stored_values("b", FINE).transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("spec", "meaning"),
    [
        (FINE, "SAM 2 backbone_fpn[0]"),
        (MapSpec("high_res_1", 1, (64, 8, 8), "float16", 8), "SAM 2 sam_mask_decoder.conv_s1(backbone_fpn[1])"),
        (
            MapSpec(GRID, 2, (256, 4, 4), "float16", 32),
            "means of SAM 2 backbone_fpn[2] over the cells of a grid",
        ),
    ],
)
def test_a_column_says_what_it_means(spec: MapSpec, meaning: str):
    assert spec.fields()[0].metadata[b"meaning"].decode().startswith(meaning)


def test_the_column_of_integers_names_its_scales():
    numbers, scale = spec_of("int8").fields()
    assert numbers.metadata[b"scale"] == b"times column fpn_0_scale, channel by channel"
    assert (scale.name, scale.metadata[b"dtype"]) == ("fpn_0_scale", b"float32")


def test_position_encodings_are_stored_like_maps_but_exact_and_a_grid_has_none():
    spec = position_spec(COARSE, 6)
    assert (spec.column, spec.dtype) == ("position_1", "float32")
    assert spec.shape_chw == (6, *COARSE.shape_chw[1:]), "channels are the encoding's own, not the map's"
    assert level_maps((FINE, MapSpec(GRID, 1, (4, 4, 4), "float16", 32))) == (FINE,)
