"""Small real videos, made by the encoders that PyAV brings: a view moves over a coloured plain, so no two are alike."""

import io
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np
from PIL import Image

SIZE = (64, 48)
RATE = 25
# By a word that says what is hard about it: container, codec, and options of the encoder.
KINDS: dict[str, tuple[str, str, dict[str, str]]] = {
    "h264 open gop": ("mp4", "libx264", {"x264-params": "open_gop=1:keyint=10:min-keyint=10:scenecut=0:bframes=3"}),
    "h264 in matroska": ("matroska", "libx264", {"x264-params": "keyint=10:bframes=2"}),
    "hevc open gop": ("mp4", "libx265", {"x265-params": "open-gop=1:keyint=10:min-keyint=10:log-level=none"}),
    "vp9": ("webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "auto-alt-ref": "1", "lag-in-frames": "8"}),
    "vp8": ("webm", "libvpx", {"deadline": "realtime", "cpu-used": "8"}),
    "mpeg-4 in avi": ("avi", "mpeg4", {"bf": "2"}),
    "mpeg-2": ("mov", "mpeg2video", {"bf": "2"}),
    "motion jpeg": ("avi", "mjpeg", {}),
}
# Frames that are shown in another order than they are stored in, in a container that has no times for that.
UNTIMED = {"h264 in avi": ("avi", "libx264", {"bf": "2"})}
_PIXEL_FORMATS = {"mjpeg": "yuvj420p"}


def pictures(count: int, size: tuple[int, int] = SIZE) -> Iterator[np.ndarray]:
    """That many (height, width, 3) uint8 pictures."""
    width, height = size
    coarse = np.random.default_rng(0).integers(0, 256, (height // 4, (width + count) // 4, 3), dtype=np.uint8)
    plain = np.asarray(Image.fromarray(coarse).resize((width + count, height)))
    for number in range(count):
        yield np.ascontiguousarray(plain[:, number : number + width])


def make_video(kind: str = "h264 open gop", count: int = 30, *, times_ms: list[int] | None = None) -> bytes:
    """A video of one of the `KINDS` with a keyframe at least every tenth frame.

    Args:
        kind: which, of them or of `UNTIMED`.
        count: of frames.
        times_ms: when each is shown; None: 25 a second.
    """
    container, codec, options = (KINDS | UNTIMED)[kind]
    frames = [av.VideoFrame.from_ndarray(each, format="rgb24") for each in pictures(count)]
    for number, frame in enumerate(frames):
        frame.time_base = Fraction(1, RATE) if times_ms is None else Fraction(1, 1000)
        frame.pts = number if times_ms is None else times_ms[number]
    return encoded(container, codec, frames, options=options)


def encoded(container: str, codec: str, frames: list[av.VideoFrame], **stream: Any) -> bytes:
    """The frames as a video file; `options`, `pix_fmt`, `rotation` in degrees counter-clockwise and `hflip`."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as out:
        pictures_out = out.add_stream(codec, rate=RATE, options=stream.get("options", {}))
        pictures_out.width, pictures_out.height = frames[0].width, frames[0].height
        pictures_out.pix_fmt = stream.get("pix_fmt", _PIXEL_FORMATS.get(codec, "yuv420p"))
        pictures_out.codec_context.gop_size = 10
        if frames[0].time_base:
            pictures_out.codec_context.time_base = frames[0].time_base
        for name in ("colorspace", "color_range"):
            if name in stream:
                setattr(pictures_out.codec_context, name, stream[name])
        if "rotation" in stream:
            pictures_out.set_display_rotation(stream["rotation"], hflip=stream.get("hflip", False))
        for frame in [*frames, None]:
            for packet in pictures_out.encode(frame):
                out.mux(packet)
    return buffer.getvalue()


def remuxed(data: bytes, container: str, *, shift: int = 0, path: str | None = None, **options: str) -> bytes:
    """The same encoded frames in another container, each `shift` ticks later."""
    buffer = io.BytesIO()
    with av.open(io.BytesIO(data)) as source, av.open(path or buffer, "w", format=container, options=options) as out:
        stream = source.streams.video[0]
        copied = out.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.dts is not None:
                packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, copied
                out.mux(packet)
    return buffer.getvalue()
