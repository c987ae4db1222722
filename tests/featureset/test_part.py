"""Parts of objects: the text in plans stands for exactly the part it was made from."""

import pytest

from pipeline.featureset.part import Part


@pytest.mark.parametrize(
    ("part", "text"),
    [
        (Part(), None),
        (Part(bytes_at=(512, 9000)), "bytes=512-9000"),
        (Part(row=0, column="image.bytes"), "row=0&column=image.bytes"),
        (Part(page=3), "page=3"),
        (Part(video_frame=120), "video_frame=120"),
        (Part(video_frame=120, pts=-512), "video_frame=120&pts=-512"),
        (Part(box=(0, 1024, 1024, 700)), "box=0,1024,1024,700"),
        (Part(bytes_at=(0, 7), page=1, box=(1, 2, 3, 4)), "bytes=0-7&page=1&box=1,2,3,4"),
        (Part(damage="50% & more=?"), "damage=50%25+%26+more%3D%3F"),
        (Part(row=2, column="a&b=c é"), "row=2&column=a%26b%3Dc+%C3%A9"),
    ],
)
def test_a_part_and_its_text_stand_for_each_other(part: Part, text: str | None):
    assert part.text == text
    assert Part.of(text) == part


@pytest.mark.parametrize("text", ["frame=3", "row=x", "box=1,2,3", "bytes=5", "row", "row=1&row"])
def test_what_is_no_part_is_refused(text: str):
    with pytest.raises(ValueError, match=r"."):
        Part.of(text)
