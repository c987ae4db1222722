"""Frames by their times: in whatever order they are asked for, bit for bit those of decoding everything in order."""

import random

import numpy as np
import pytest

from pipeline.errors import ImageError
from pipeline.featureset.part import Part
from pipeline.preprocessing.served_file import ServedFile
from pipeline.preprocessing.video import OpenVideo, frame_times
from pipeline.preprocessing.video_frames import FrameReader, frame_of
from pipeline.preprocessing.video_pixels import rgb_of_frame
from tests.videos import KINDS, make_video, pictures, remuxed


def served(data: bytes, asked: list[int] | None = None) -> ServedFile:
    def ask(start: int, end: int) -> bytes:
        if asked is not None:
            asked.append(start)
        return data[start:end]

    return ServedFile("key", len(data), ask)


def in_order(data: bytes) -> dict[int, np.ndarray]:
    """Every frame by its time, as decoding all packets in order gives them."""
    video = OpenVideo(served(data))
    frames = (
        frame for packet in video.container.demux(video.stream) for frame in video.stream.codec_context.decode(packet)
    )
    found: dict[int, np.ndarray] = {}
    for frame in frames:
        found.setdefault(frame.pts, rgb_of_frame(frame))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_exact_in_any_order(kind: str):
    data = make_video(kind)
    expected = in_order(data)
    times = frame_times(data)["pts"]
    assert times == list(expected)
    mixed = random.Random(5).sample(times, len(times))
    for order in (times, times[::-1], times[4::7], mixed):
        reader = FrameReader(served(data))
        for pts in order:
            np.testing.assert_array_equal(rgb_of_frame(reader.frame(pts)), expected[pts], err_msg=f"{kind} {pts}")
    for pts in times[::3]:
        np.testing.assert_array_equal(rgb_of_frame(FrameReader(served(data)).frame(pts)), expected[pts])


@pytest.mark.parametrize(
    "data",
    [
        make_video(times_ms=[number * 40 + number * number for number in range(30)]),
        make_video("h264 in matroska", times_ms=[0, 1, 500, *range(1000, 28_000, 1000)]),
        remuxed(make_video(), "mp4", shift=-15 * 512, avoid_negative_ts="disabled"),
        remuxed(make_video("mpeg-2"), "matroska"),
        remuxed(make_video(), "mp4", movflags="frag_keyframe+empty_moov"),
    ],
    ids=["variable rate", "long gaps", "edit list", "mpeg-2 in matroska", "fragments"],
)
def test_so_they_are_whatever_their_times(data: bytes):
    expected = in_order(data)
    times = frame_times(data)["pts"]
    assert times == list(expected)
    reader = FrameReader(served(data))
    for pts in random.Random(6).sample(times, len(times)):
        np.testing.assert_array_equal(rgb_of_frame(reader.frame(pts)), expected[pts])


def test_frames_are_those_that_were_encoded():
    data = make_video("motion jpeg")
    expected = np.stack(list(pictures(30))).astype(int)
    for number, pts in enumerate(frame_times(data)["pts"]):
        found = frame_of(served(data), Part(video_frame=number, pts=pts))
        assert np.abs(expected - found).mean(axis=(1, 2, 3)).argmin() == number


def test_going_forward_decodes_on_and_far_ahead_begins_at_a_keyframe():
    data = make_video("h264 in matroska", 300)
    times, begun = frame_times(data)["pts"], []
    reader = FrameReader(served(data))
    for place in (3, 5, 8, 250, 252):
        reader.frame(times[place])
        begun.append(reader._key_pts)  # noqa: SLF001  where decoding began
    near, far = begun[0], begun[3]
    assert begun[:3] == [near, near, near]
    assert begun[3] == begun[4]
    assert times.index(far) in range(240, 251)


def test_a_video_stays_open_from_part_to_part():
    source = served(make_video())
    first, second = (frame_of(source, Part(video_frame=each, pts=each * 512)) for each in (0, 1))
    assert not np.array_equal(first, second)
    kept = source.opened
    frame_of(source, Part(video_frame=2, pts=1024))
    assert source.opened is kept


def test_a_few_frames_of_a_long_file_read_a_little_of_it():
    data = remuxed(make_video("motion jpeg", 30), "mp4") + bytes(40 << 20)  # the rest is no box of its own
    asked: list[int] = []
    frame_of(served(data, asked), Part(video_frame=29, pts=29 * 512))
    assert len(set(asked)) <= 3


def test_a_time_without_a_frame_is_refused_and_the_others_come():
    data = make_video()
    reader = FrameReader(served(data))
    for pts in (513, 29 * 512 + 1, -5000):
        with pytest.raises(ImageError) as caught:
            reader.frame(pts)
        assert (caught.value.stage, caught.value.error_type) == ("decode", "MissingFrame")
    np.testing.assert_array_equal(rgb_of_frame(reader.frame(512)), in_order(data)[512])


def test_damage_that_the_decoder_sees_spoils_what_is_made_of_it_and_nothing_else():
    data = make_video("h264 open gop", 60)
    expected, damaged = in_order(data), bytearray(data)
    with_damage = len(data) // 2
    damaged[with_damage : with_damage + 60] = bytes(60)
    reader = FrameReader(served(bytes(damaged)))
    spoilt = []
    for place, pts in enumerate(frame_times(bytes(damaged))["pts"]):
        try:
            found = rgb_of_frame(reader.frame(pts))
        except ImageError as error:
            spoilt.append((place, error.error_type))
        else:
            np.testing.assert_array_equal(found, expected[pts])
    assert {error_type for _, error_type in spoilt} <= {"DamagedVideo", "MissingFrame"}
    assert 0 < len(spoilt) <= 13, "no further than to the next keyframe"


def test_a_video_that_could_not_be_planned_says_why_whenever_it_is_decoded():
    unplanned = Part(video_frame=0)
    with pytest.raises(ImageError) as caught:
        frame_of(served(b"no video at all"), unplanned)
    assert (caught.value.error_type, caught.value.error_class) == ("NotAVideo", "permanent")
    with pytest.raises(ImageError) as caught:
        frame_of(served(make_video()), unplanned)
    assert (caught.value.error_type, caught.value.error_class) == ("VideoUnplanned", "transient")


def test_a_cut_video_says_how_much_of_it_is_there(tmp_path):
    remuxed(make_video(), "mp4", path=str(tmp_path / "a.mp4"), movflags="faststart")
    data = (tmp_path / "a.mp4").read_bytes()
    with pytest.raises(ImageError, match=r"the file ends after \d+ of 30 frames"):
        frame_of(served(data[: len(data) * 2 // 3]), Part(video_frame=0))
