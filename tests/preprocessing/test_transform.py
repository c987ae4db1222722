"""The transform: equal to SAM 2's own, whatever form the image comes in."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

import pipeline
from pipeline.errors import ImageError
from pipeline.preprocessing.pixel_rules import PixelRules
from pipeline.preprocessing.transform import DESCRIPTION, DEVIATION, MEAN, normalise, preprocess
from tests.parity.reference_weights import sample_indices
from tests.preprocessing.conftest import Encode

GOLDENS = Path(__file__).parents[1] / "parity"


@pytest.mark.parametrize("photograph", ["astronaut.png", "rocket.jpg"])
def test_preprocess_equals_sam2s_own_transform_to_1e_4(photograph: str, photographs: dict[str, Path]):
    golden = np.load(GOLDENS / f"preprocess_{photograph}.npz")
    with Image.open(photographs[photograph]) as opened:
        # SAM 2's transform begins with pixels, and knows no profiles; rocket.jpg is in Adobe RGB.
        is_ordinary = photograph != "rocket.jpg"
        image = photographs[photograph] if is_ordinary else np.asarray(opened)
    found = preprocess(image, side_px=1024).numpy()
    assert list(found.shape) == golden["pixels_shape"].tolist()
    kept = found.ravel()[sample_indices(found.size)]
    worst = np.abs(kept - golden["pixels_values"]).max()
    assert worst <= 1e-4, f"{photograph}: off by {worst}"
    assert np.linalg.norm(found.astype(np.float64)) == pytest.approx(float(golden["pixels_l2"]), rel=1e-5)


def test_a_photograph_in_adobe_rgb_is_the_one_that_was_converted_to_srgb(photographs: dict[str, Path]):
    with Image.open(photographs["rocket.jpg"]) as opened:
        converted = ImageCms.profileToProfile(
            opened,
            ImageCms.ImageCmsProfile(io.BytesIO(opened.info["icc_profile"])),
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        )
    expected = preprocess(np.asarray(converted), 64)
    torch.testing.assert_close(preprocess(photographs["rocket.jpg"], 64), expected, rtol=0, atol=0)


def test_what_shows_where_an_image_is_transparent_can_be_set(encode: Encode):
    clear = encode("PNG", Image.new("RGBA", (4, 4), (9, 9, 9, 0)))
    for background in ((255, 255, 255), (10, 20, 30)):
        flat = np.full((4, 4, 3), background, np.uint8)
        torch.testing.assert_close(
            preprocess(clear, 8, rules=PixelRules(background)), preprocess(flat, 8), rtol=0, atol=0
        )


def test_bytes_path_pillow_image_and_array_give_equal_results(encode: Encode, pixels_HWC: np.ndarray, tmp_path: Path):
    data = encode("PNG")
    path = tmp_path / "a.png"
    path.write_bytes(data)
    expected = preprocess(data, 32)
    for same in (path, str(path), Image.open(io.BytesIO(data)), Image.fromarray(pixels_HWC), pixels_HWC):
        torch.testing.assert_close(preprocess(same, 32), expected, rtol=0, atol=0)


def test_all_forms_agree_on_a_picture_that_must_be_turned(encode: Encode, tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode("JPEG", exif=exif)
    (tmp_path / "a.jpg").write_bytes(data)
    for same in (tmp_path / "a.jpg", Image.open(io.BytesIO(data))):
        torch.testing.assert_close(preprocess(same, 32), preprocess(data, 32), rtol=0, atol=0)


def test_the_result_is_a_float_tensor_of_its_own(pixels_HWC: np.ndarray):
    found = preprocess(pixels_HWC, 40)
    assert found.shape == (3, 40, 40)
    assert found.dtype == torch.float32
    assert found.is_contiguous()
    before = pixels_HWC.copy()
    found.zero_()
    np.testing.assert_array_equal(pixels_HWC, before)


def test_the_side_is_1024_unless_said_otherwise(pixels_HWC: np.ndarray):
    assert preprocess(pixels_HWC).shape == (3, 1024, 1024)


def test_a_picture_that_is_already_side_by_side_is_normalised_and_nothing_else():
    pixels_HWC = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    expected = (pixels_HWC.astype(np.float32) / 255 - np.float32(MEAN)) / np.float32(DEVIATION)
    np.testing.assert_allclose(preprocess(pixels_HWC, 24).numpy(), expected.transpose(2, 0, 1), atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (7, 31), (200, 100)])
def test_any_shape_becomes_a_square_and_a_flat_colour_stays_itself(shape: tuple[int, int]):
    flat = np.full((*shape, 3), 200, np.uint8)
    expected = (torch.tensor(200 / 255) - torch.tensor(MEAN)) / torch.tensor(DEVIATION)
    torch.testing.assert_close(preprocess(flat, 16), expected[:, None, None].expand(3, 16, 16), atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", [(1, 65_535), (65_535, 1)])
def test_so_does_one_row_or_column_of_any_length_but_for_rounding(shape: tuple[int, int]):
    """Each pixel is then the sum of thousands, in float32."""
    found = preprocess(np.full((*shape, 3), 200, np.uint8), 16) * torch.tensor(DEVIATION)[:, None, None]
    expected = (torch.tensor(200 / 255) - torch.tensor(MEAN))[:, None, None].expand(3, 16, 16)
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=0)


def test_shrinking_averages_rather_than_skips():
    """Antialiased: a fine chessboard becomes grey; picking every nth pixel would leave it black or white."""
    board = (np.indices((56, 56)).sum(0) % 2 * 255).astype(np.uint8)
    shrunk = normalise(np.stack([board] * 3, axis=-1), 8) * torch.tensor(DEVIATION)[:, None, None]
    grey = shrunk + torch.tensor(MEAN)[:, None, None]
    torch.testing.assert_close(grey, torch.full((3, 8, 8), 0.5), atol=0.02, rtol=0)


def test_flipped_sliced_and_read_only_arrays_are_taken_as_they_look(pixels_HWC: np.ndarray):
    for view in (pixels_HWC[:, ::-1], pixels_HWC[..., ::-1], pixels_HWC[::2, ::3], pixels_HWC.transpose(1, 0, 2)):
        torch.testing.assert_close(preprocess(view, 16), preprocess(view.copy(), 16), rtol=0, atol=0)
    frozen = pixels_HWC.copy()
    frozen.setflags(write=False)
    torch.testing.assert_close(preprocess(frozen, 16), preprocess(pixels_HWC, 16), rtol=0, atol=0)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((3, 8, 8), np.uint8),
        np.zeros((8, 8, 3), np.float32),
        np.zeros((0, 8, 3), np.uint8),
    ],
    ids=lambda pixels: f"{pixels.shape} {pixels.dtype}",
)
def test_an_array_of_another_shape_or_dtype_is_refused_naming_it(pixels: np.ndarray):
    with pytest.raises(ValueError, match=r"\(height, width, 3\) uint8, not") as caught:
        preprocess(pixels)
    assert str(pixels.shape) in str(caught.value)
    assert str(pixels.dtype) in str(caught.value)


@pytest.mark.parametrize("thing", [None, 3, ["a.jpg"]])
def test_what_is_no_image_at_all_is_refused_naming_its_type(thing: object):
    with pytest.raises(TypeError, match=f"not {type(thing).__name__}"):
        preprocess(thing)  # type: ignore[arg-type]


def test_a_bad_image_is_an_image_error_in_every_form(tmp_path: Path, encode: Encode, noise: Image.Image):
    data = encode("JPEG", noise)[:1000]
    (tmp_path / "a.jpg").write_bytes(data)
    for bad in (data, tmp_path / "a.jpg", str(tmp_path / "a.jpg"), Image.open(io.BytesIO(data))):
        with pytest.raises(ImageError, match="truncated"):
            preprocess(bad)


def test_preprocess_is_pure(pixels_HWC: np.ndarray):
    torch.testing.assert_close(preprocess(pixels_HWC, 32), preprocess(pixels_HWC, 32), rtol=0, atol=0)
    assert pipeline.preprocess is preprocess


def test_the_fingerprint_hears_of_every_number_of_the_transform():
    assert DESCRIPTION["mean"] == list(MEAN) == [0.485, 0.456, 0.406]
    assert DESCRIPTION["deviation"] == list(DEVIATION) == [0.229, 0.224, 0.225]
    assert DESCRIPTION["background"] == [255, 255, 255]
    assert set(DESCRIPTION) == {"orientation", "colour", "depth", "background", "resize", "mean", "deviation"}
