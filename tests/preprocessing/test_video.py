"""Videos before decoding: planned are the frames that decoding yields, and nothing but the file itself is opened."""

import io
import socket
import struct
from pathlib import Path
from typing import Any, BinaryIO

import av
import pytest

from pipeline.errors import ImageError
from pipeline.preprocessing.served_file import ServedFile
from pipeline.preprocessing.video import _open_nothing, frame_times
from tests.videos import KINDS, make_video, remuxed


def times_by_decoding(data: bytes) -> list[int]:
    with av.open(io.BytesIO(data)) as video:
        return [frame.pts for frame in video.decode(video.streams.video[0])]


@pytest.mark.parametrize("kind", KINDS)
def test_planned_are_the_frames_that_decoding_yields(kind: str):
    data = make_video(kind)
    found = frame_times(ServedFile("key", len(data), lambda start, end: data[start:end]))
    assert found["pts"] == times_by_decoding(data)
    assert (len(found["pts"]), found["num_missing"]) == (30, 0)
    numerator, denominator = found["time_base"]
    assert (found["pts"][-1] - found["pts"][0]) * numerator / denominator == pytest.approx(29 / 25, abs=2e-3)


def test_frames_that_an_edit_list_cuts_away_are_not_planned():
    whole = make_video()
    cut = remuxed(whole, "mp4", shift=-15 * 512, avoid_negative_ts="disabled")
    found = frame_times(cut)["pts"]
    assert found == times_by_decoding(cut)
    assert (len(found), found[0]) == (15, 0)


def test_two_frames_for_one_time_are_one():
    data = make_video("h264 in matroska", 4, times_ms=[0, 40, 40, 80])
    assert frame_times(data)["pts"] == [0, 40, 80]


def test_a_file_that_ends_early_says_how_many_frames_it_lacks(tmp_path: Path):
    path = tmp_path / "whole.mp4"
    remuxed(make_video(), "mp4", path=str(path), movflags="faststart")
    data = path.read_bytes()
    found = frame_times(data[: len(data) * 2 // 3])
    assert found["num_missing"] > 5
    assert len(found["pts"]) + found["num_missing"] == 30


def test_a_damaged_file_gives_the_frames_up_to_the_damage():
    data = bytearray(make_video("h264 in matroska"))
    data[len(data) // 2 :] = b"\xff" * (len(data) - len(data) // 2)
    assert 0 < len(frame_times(bytes(data))["pts"]) < 30


@pytest.mark.parametrize(
    ("data", "error_type"),
    [
        (b"", "EmptyFile"),
        (b"just some text, no video", "NotAVideo"),
        (make_video()[:500], "DamagedVideo"),
        (make_video("vp8")[:200], "DamagedVideo"),
        (b"\0\0\0\x18ftypisom" + bytes(500), "DamagedVideo"),
        (make_video("h264 in avi"), "NoTimestamps"),
        (make_video("h264 in matroska").replace(b"V_MPEG4/ISO/AVC", b"V_MS/VFW/FOURCC"), "UnsupportedCodec"),
    ],
    ids=["empty", "text", "no moov", "cut head", "boxes of nothing", "h264 with b-frames in avi", "unknown codec"],
)
def test_what_is_no_video_is_refused_by_its_kind(data: bytes, error_type: str):
    with pytest.raises(ImageError) as caught:
        frame_times(data)
    assert (caught.value.stage, caught.value.error_type) == ("decode", error_type)


def test_frames_of_too_many_pixels_are_refused_from_the_header():
    data = bytearray(make_video("motion jpeg", 1))
    place, frame = data.index(b"strf") + 12, data.index(b"\xff\xc0") + 5
    data[place : place + 8] = struct.pack("<ii", 30_000, 30_000)
    data[frame : frame + 4] = struct.pack(">HH", 30_000, 30_000)
    with pytest.raises(ImageError, match="more than 67108864 pixels") as caught:
        frame_times(bytes(data))
    assert caught.value.error_type == "FrameSize"


def test_a_list_of_other_files_opens_none_of_them(tmp_path: Path):
    canary = tmp_path / "canary.mp4"
    canary.write_bytes(make_video())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        port = listener.getsockname()[1]
        url = f"http://127.0.0.1:{port}/a.mp4"
        for text in (
            f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{url}\n#EXT-X-ENDLIST\n",
            f"#EXTM3U\n#EXTINF:1,\nfile://{canary}\n",
            f"ffconcat version 1.0\nfile {canary}\nfile {url}\n",
            f"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video {port} RTP/AVP 96\n",
            f'<?xml version="1.0"?><MPD><BaseURL>{url}</BaseURL></MPD>',
        ):
            with pytest.raises(ImageError, match="neither MP4"):
                frame_times(text.encode())
        with pytest.raises(TimeoutError):
            listener.accept()


def test_a_video_whose_frames_are_in_another_file_gets_no_other_file(tmp_path: Path):
    canary = tmp_path / "canary.mov"
    data = _with_reference(make_video("mpeg-2", 3), canary)
    canary.write_bytes(make_video("mpeg-2", 3))
    asked: list[str] = []

    def opened(url: str, *_: Any) -> BinaryIO:
        asked.append(url)
        return canary.open("rb")

    follow = {"enable_drefs": "1", "use_absolute_path": "1"}
    with av.open(io.BytesIO(data), container_options=follow, io_open=opened) as video:
        assert len(list(video.decode(video=0))) == 3, "others do follow it"
    assert asked == [str(canary)]
    with pytest.raises(ImageError) as caught:
        frame_times(data)
    assert caught.value.error_type == "NoFrames"
    with pytest.raises(ImageError, match="no video gets another file"):
        _open_nothing(str(canary), 1, {})


def _with_reference(data: bytes, path: Path) -> bytes:
    """The MOV with its frames, by its data reference, in another file."""
    place = data.index(b"dref")
    alias = _alias(str(path))
    reference = struct.pack(">I4sI", 12 + len(alias), b"alis", 0) + alias
    box = struct.pack(">I4sII", 16 + len(reference), b"dref", 0, 1) + reference
    old = struct.unpack(">I", data[place - 4 : place])[0]
    grown = bytearray(data[: place - 4] + box + data[place - 4 + old :])
    for name in (b"moov", b"trak", b"mdia", b"minf", b"dinf"):  # which hold it
        at = grown.index(name) - 4
        size = struct.unpack(">I", grown[at : at + 4])[0]
        grown[at : at + 4] = struct.pack(">I", size + len(box) - old)
    return bytes(grown)


def _alias(path: str) -> bytes:
    """An alias record as QuickTime has it: fixed fields, then the absolute path as record 2."""
    name = path.encode()
    return bytes(150) + struct.pack(">hh", 2, len(name)) + name + bytes(len(name) % 2) + struct.pack(">hh", -1, 0)
