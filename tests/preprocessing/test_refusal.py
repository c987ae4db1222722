"""Refusing: whatever a codec raises is the image's fault, by a name that does not change."""

import warnings

import pytest
from PIL import Image

from pipeline.errors import ImageError
from pipeline.preprocessing.refusal import refused, refusing


@pytest.mark.parametrize(
    ("raised", "error_type", "says"),
    [
        (OSError("image file is truncated (3 bytes not processed)"), "TruncatedImage", "cannot be decoded: image file"),
        (ZeroDivisionError("by zero"), "DamagedImage", "cannot be decoded: by zero"),
        (ValueError("too large for PngImagePlugin.MAX_TEXT_CHUNK"), "MetadataTooLarge", "MAX_TEXT_CHUNK"),
        (ValueError("text chunks: 9>MAX_TEXT_MEMORY"), "MetadataTooLarge", "MAX_TEXT_MEMORY"),
        (
            Image.DecompressionBombError("Image size (400 pixels) exceeds limit of 3 pixels, could be bomb."),
            "ImageTooLarge",
            "400 pixels are more than are decoded whole: raise execution.decode_max_megapixels",
        ),
        (refused("NoPixels", "as it is"), "NoPixels", "as it is"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_a_codec_raises_becomes_the_images_fault(raised: Exception, error_type: str, says: str):
    with pytest.raises(ImageError) as caught, refusing():
        raise raised
    assert (caught.value.stage, caught.value.error_class) == ("decode", "permanent")
    assert caught.value.error_type == error_type
    assert says in str(caught.value)
    assert "limit of 3" not in str(caught.value)


def test_an_interrupt_is_nobodys_fault():
    with pytest.raises(KeyboardInterrupt), refusing():
        raise KeyboardInterrupt


def test_warnings_inside_go_nowhere_and_those_outside_go_on():
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        with refusing():
            warnings.warn("damaged tag", stacklevel=1)
        warnings.warn("heard", stacklevel=1)
    assert [str(each.message) for each in heard] == ["heard"]
