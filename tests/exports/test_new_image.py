"""A new image is encoded as the set's own were, or not at all."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import pipeline
from pipeline.errors import CheckpointError, ConfigError, FeatureSetError, ImageError
from pipeline.exports.new_image import encode_image, weights_of
from pipeline.model.outputs import pool
from pipeline.model.published import PUBLISHED
from pipeline.model.weight_cache import file_sha256
from tests.vector_set import debug_settings, embedded_photos

RANDOM = {"kind": "random", "seed": 0}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A checkpoint of hiera_debug with weights of their own, in the published form."""
    encoder = pipeline.build_encoder("hiera_debug", checkpoint="random:5")
    weights = {f"image_encoder.{name}": value for name, value in encoder.state_dict().items()}
    torch.save({"model": weights}, tmp_path / "debug.pt")
    return tmp_path / "debug.pt"


def test_an_image_of_the_set_gets_the_vector_it_has_there(make_photos, tmp_path: Path):
    ids = make_photos(tmp_path / "photos", 3)
    made = embedded_photos(tmp_path / "set", tmp_path / "photos", ids)
    for image_id in ids:
        vector = encode_image((tmp_path / "photos" / image_id).read_bytes(), made.record.settings)
        np.testing.assert_allclose(vector, made.vectors[image_id], atol=1e-5)


def test_weights_of_a_checkpoint_are_used_when_they_are_the_sets_own(checkpoint: Path, photographs):
    data = photographs["coffee.png"].read_bytes()
    settings = debug_settings({"kind": "checkpoint", "sha256": file_sha256(checkpoint)})
    vector = encode_image(data, settings, str(checkpoint))
    encoder = pipeline.build_encoder("hiera_debug", checkpoint="random:5")
    with torch.inference_mode():
        mean = encoder(pipeline.preprocess(data, side_px=128)[None])["vision_features"].mean(dim=(2, 3))[0]
    np.testing.assert_allclose(vector, (mean / mean.norm()).numpy(), atol=1e-5)
    assert np.abs(vector - encode_image(data, debug_settings(RANDOM))).max() > 1e-3


def test_a_set_of_generalised_means_gets_one_too(photographs):
    data = photographs["coffee.png"].read_bytes()
    vector = encode_image(data, {**debug_settings(RANDOM), "pooling": "gem"})
    with torch.inference_mode():
        output = pipeline.build_encoder("hiera_debug", checkpoint="random")(pipeline.preprocess(data, 128)[None])
    np.testing.assert_allclose(vector, pool(output, "gem")[0].numpy(), atol=1e-5)
    assert np.abs(vector - encode_image(data, debug_settings(RANDOM))).max() > 1e-3


def test_where_it_is_transparent_it_shows_the_background_of_the_set():
    clear, settings = io.BytesIO(), debug_settings(RANDOM)
    Image.new("RGBA", (64, 64), (9, 9, 9, 0)).save(clear, "PNG")
    settings["preprocessing"] = {**settings["preprocessing"], "background": [200, 30, 60]}
    flat = io.BytesIO()
    Image.new("RGB", (64, 64), (200, 30, 60)).save(flat, "PNG")
    vector = encode_image(clear.getvalue(), settings)
    np.testing.assert_array_equal(vector, encode_image(flat.getvalue(), settings))
    assert np.abs(vector - encode_image(clear.getvalue(), debug_settings(RANDOM))).max() > 1e-3


def test_an_image_is_compared_with_tiles_as_one_tile(photographs):
    data, settings = photographs["coffee.png"].read_bytes(), debug_settings(RANDOM)
    tiled = {**settings["preprocessing"], "tiles": {"tile_px": 256, "overlap_px": 32}}
    np.testing.assert_array_equal(
        encode_image(data, {**settings, "preprocessing": tiled}), encode_image(data, settings)
    )


def test_no_checkpoint_and_another_one_are_refused(checkpoint: Path, tmp_path: Path):
    own = debug_settings({"kind": "checkpoint", "sha256": file_sha256(checkpoint)})
    with pytest.raises(
        ConfigError, match=f"model.checkpoint is not set.*{file_sha256(checkpoint)}; give its path or URI$"
    ):
        weights_of(own, None)
    with pytest.raises(CheckpointError, match="there is no checkpoint file"):
        weights_of(own, str(tmp_path / "no.pt"))
    with pytest.raises(
        CheckpointError,
        match=r"has weights random \(seed 0, untrained\), but .* made with checkpoint sha256",
    ):
        weights_of(own, "random")
    with pytest.raises(CheckpointError, match=r"made with random \(seed 0, untrained\)"):
        weights_of(debug_settings(RANDOM), str(checkpoint))
    assert weights_of(own, str(checkpoint)).kind == "file"


def test_published_weights_are_offered_by_name():
    settings = debug_settings({"kind": "checkpoint", "sha256": PUBLISHED["sam2.1_hiera_tiny"].sha256})
    with pytest.raises(ConfigError, match="or 'published'"):
        weights_of(settings, None)


def test_random_weights_need_no_checkpoint():
    assert weights_of(debug_settings({"kind": "random", "seed": 7}), None).seed == 7
    assert weights_of(debug_settings(RANDOM), "random").seed == 0


def test_numbers_of_another_version_are_not_guessed_at():
    settings = debug_settings(RANDOM)
    for change in ({"code_version": 0}, {"preprocessing": {**settings["preprocessing"], "resize": "nearest"}}):
        with pytest.raises(FeatureSetError, match="another version of this code"):
            encode_image(b"", {**settings, **change})


def test_what_is_no_image_is_said_so():
    with pytest.raises(ImageError, match="none of the known image formats"):
        encode_image(b"not an image", debug_settings(RANDOM))
