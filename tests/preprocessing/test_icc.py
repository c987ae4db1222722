"""Colour profiles: what they mean in sRGB by hand arithmetic, and that those which mean nothing change nothing."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from pipeline.preprocessing.icc import to_srgb
from tests.preprocessing.forged import (
    SRGB_PRIMARIES,
    cmyk_profile,
    gamma_curve,
    grey_profile,
    linear_to_srgb,
    rgb_profile,
    srgb_curve,
)

# Adobe RGB (1998): X, Y, Z of its primaries for a D50 white (Lindbloom), and its exponent of 563/256.
ADOBE_PRIMARIES = (
    (0.6097559, 0.3111242, 0.0194811),
    (0.2052401, 0.6256560, 0.0608902),
    (0.1492240, 0.0632197, 0.7448387),
)
COLOURS = [(0, 0, 0), (255, 255, 255), (200, 100, 50), (100, 150, 120), (17, 34, 51), (128, 128, 128)]


def pixels(colours: list[tuple[int, ...]], mode: str = "RGB") -> Image.Image:
    image = Image.new(mode, (len(colours), 1))
    image.putdata(colours if mode != "L" else [value for (value,) in colours])
    return image


def shown(image: Image.Image, profile: bytes | None) -> np.ndarray:
    found = to_srgb(image, profile)
    assert (found.mode, found.size) == ("RGB", image.size)
    return np.asarray(found)[0].astype(int)


def in_srgb(colour: tuple[int, ...], primaries, gamma: float) -> list[float]:
    """What a colour of such a profile is in sRGB, 0 to 255, by the matrices themselves."""
    lights = (np.array(colour) / 255) ** gamma @ np.array(primaries) @ np.linalg.inv(SRGB_PRIMARIES)
    return [255 * linear_to_srgb(float(light)) for light in np.clip(lights, 0, 1)]


@pytest.mark.parametrize("primaries", [ADOBE_PRIMARIES, SRGB_PRIMARIES], ids=["adobe", "srgb"])
@pytest.mark.parametrize("gamma", [563 / 256, 1.0, 1.8])
def test_colours_of_a_profile_become_what_the_matrices_say(primaries, gamma: float):
    found = shown(pixels(COLOURS), rgb_profile(primaries, gamma_curve(gamma)))
    expected = [in_srgb(colour, primaries, gamma) for colour in COLOURS]
    assert np.abs(found - expected).max() <= 1.5, found


def test_colours_that_srgb_does_not_have_are_cut_off_and_no_other_is_moved_for_them():
    found = shown(pixels([(0, 255, 0), (200, 200, 200)]), rgb_profile(ADOBE_PRIMARIES, gamma_curve(563 / 256)))
    assert found[0].tolist() == [0, 255, 0]
    assert np.abs(found[1] - 200).max() <= 1


def test_a_profile_whose_red_is_green_turns_colours_around():
    around = rgb_profile([SRGB_PRIMARIES[place] for place in (1, 2, 0)], srgb_curve())
    found = shown(pixels(COLOURS), around)
    assert np.abs(found - [(blue, red, green) for red, green, blue in COLOURS]).max() <= 1


@pytest.mark.parametrize(
    "profile",
    [
        rgb_profile(SRGB_PRIMARIES, srgb_curve(), name="called something else"),
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
    ],
    ids=["by its numbers", "Pillow's"],
)
def test_what_is_srgb_already_stays_bit_for_bit_what_it_is(profile: bytes):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    np.testing.assert_array_equal(np.asarray(to_srgb(noise, profile)), np.asarray(noise))


def test_srgb_primaries_with_another_curve_are_not_srgb():
    found = shown(pixels([(10, 10, 10)]), rgb_profile(SRGB_PRIMARIES, gamma_curve(2.2), name="sRGB"))
    assert found[0, 0] == pytest.approx(255 * linear_to_srgb((10 / 255) ** 2.2), abs=1)


WHOLE = rgb_profile(ADOBE_PRIMARIES, gamma_curve(2.2))


@pytest.mark.parametrize(
    "profile",
    [
        None,
        b"",
        b"no profile",
        bytes(3000),
        WHOLE[:200],
        WHOLE[:36] + b"xxxx" + WHOLE[40:],
        WHOLE[:16] + b"7CLR" + WHOLE[20:],
        WHOLE[:128] + b"\xff" * 4 + WHOLE[132:],
        WHOLE.replace(b"rXYZ", b"qXYZ", 1),
        WHOLE + bytes(4 * 2**20),
        grey_profile(gamma_curve(1.0)),
        cmyk_profile(lambda *_: 50),
        (1, 2, 3),
        "text",
    ],
    ids=lambda profile: repr(profile)[:20],
)
def test_a_damaged_profile_or_one_of_other_pixels_changes_nothing(profile):
    np.testing.assert_array_equal(shown(pixels(COLOURS), profile), COLOURS)


def test_grey_follows_a_grey_profile_and_the_curve_of_a_coloured_one():
    greys = [(0,), (64,), (128,), (255,)]
    linear = [round(255 * linear_to_srgb(value / 255)) for (value,) in greys]
    for profile in (grey_profile(gamma_curve(1.0)), rgb_profile(SRGB_PRIMARIES, gamma_curve(1.0))):
        found = shown(pixels(greys, "L"), profile)
        assert np.abs(found - np.array(linear)[:, None]).max() <= 1, found
    as_it_is = shown(pixels(greys, "L"), grey_profile(srgb_curve()))
    assert as_it_is[:, 0].tolist() == [0, 64, 128, 255]


def test_inks_look_as_their_profile_says():
    """Cyan of this printer is a middle grey, L* 50, which is 119 in sRGB; the plain formula has it at (0, 255, 255)."""
    inks = [(0, 0, 0, 0), (255, 0, 0, 0), (0, 0, 0, 255)]
    profile = cmyk_profile(lambda *inks: 0 if inks[3] else 50 if inks[0] else 100)
    found = shown(pixels(inks, "CMYK"), profile)
    assert np.abs(found - np.array([255, 119, 0])[:, None]).max() <= 2, found
    assert shown(pixels(inks, "CMYK"), None).tolist() == [[255, 255, 255], [0, 255, 255], [0, 0, 0]]


def test_a_file_brings_its_profile_along():
    stream = io.BytesIO()
    profile = rgb_profile(SRGB_PRIMARIES, gamma_curve(1.0))
    pixels(COLOURS).save(stream, "PNG", icc_profile=profile)
    with Image.open(stream) as opened:
        opened.load()
        np.testing.assert_array_equal(shown(opened, opened.info["icc_profile"]), shown(pixels(COLOURS), profile))
