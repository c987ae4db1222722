"""A video as the decoder process opens it, and the times of its frames, which are found without decoding any.

FFmpeg (by PyAV) reads through our own file object alone: few containers, few codecs, and no other file or address is
ever opened, whatever the video names.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from pipeline.errors import ImageError
from pipeline.preprocessing.refusal import refused
from pipeline.preprocessing.served_file import ServedFile

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

# By FFmpeg's names, for it has several hundred of each, most of them for files that nobody keeps any more.
_DECODERS = frozenset(
    {
        *("h264", "hevc", "vp8", "vp9", "av1", "libdav1d", "mpeg4", "msmpeg4v3", "mpeg1video", "mpeg2video"),
        *("mjpeg", "prores", "dnxhd", "ffv1"),
    }
)
_MOV_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide"})
MAX_PIXELS = 2**26
MAX_FRAMES = 2**22  # 19 hours at 60 a second
_BUFFER_BYTES = 1 << 16


class OpenVideo:
    """A video file with the one stream of pictures that is taken of it; times are in ticks of its `time_base`.

    Args:
        file: read from its beginning, and left open.

    Raises:
        ImageError: stage `decode`; no video, or one of another container or codec, or of too many pixels.
    """

    def __init__(self, file: io.BufferedIOBase | io.RawIOBase) -> None:
        file.seek(0)
        head = file.read(16) or b""
        if not head:
            raise refused("EmptyFile", "the file has 0 bytes")
        file.seek(0)
        with refusing():
            self.container = _open(file, _container_of(head))
        self.stream = _pictures(self.container)
        from av.stream import Discard

        with refusing():
            _require_decodable(self.container, self.stream)
            self.stream.codec_context.thread_count = 1
            for other in self.container.streams:
                if other is not self.stream:
                    other.discard = Discard.all

    @property
    def first_delay(self) -> int:
        """What is to be added to the times of the container's index, which are of decoding in some, to get times."""
        entries, start = self.stream.index_entries, self.stream.start_time
        return 0 if start is None or not len(entries) else max(0, start - entries[0].timestamp)

    def packets(self) -> "Iterator[Packet[VideoStream]]":
        """Its encoded frames from where it stands, in the order they are decoded in; a damaged container ends early."""
        import av

        try:
            for packet in self.container.demux(self.stream):
                if packet.dts is not None or packet.size:  # the last one, which is none, asks decoders for their rest
                    yield packet
        except av.FFmpegError as error:
            require_memory(error)


def frame_times(source: bytes | ServedFile) -> dict[str, Any]:
    """When the frames of a video are shown.

    Of several frames for one time one counts; those that an edit list cuts away do not.

    Returns:
        `pts`, ascending, in ticks of `time_base` (seconds, as numerator and denominator), and `num_missing`: frames
        that the container lists, and the file ends before.

    Raises:
        ImageError: stage `decode`; as `OpenVideo`, without frames, with too many, or without times.
    """
    video = OpenVideo(io.BytesIO(source) if isinstance(source, bytes) else source)
    with refusing():
        times: set[int] = set()
        num_packets = 0
        for packet in video.packets():
            num_packets += 1
            if not packet.size or packet.is_discard:
                continue
            if packet.pts is None:
                raise refused("NoTimestamps", "not all of its frames say when they are shown; remux it into an MP4")
            times.add(packet.pts)
            if len(times) > MAX_FRAMES:
                raise refused("TooManyFrames", f"it has more than {MAX_FRAMES} frames; cut it up")
        if not times:
            raise refused("NoFrames", "there is no frame in it")
        is_listed = video.container.format.name.startswith("mov")
        num_missing = max(0, len(video.stream.index_entries) - num_packets) if is_listed else 0
        base = video.stream.time_base
        assert base is not None, "FFmpeg gives every stream one"
    video.container.close()
    return {"pts": sorted(times), "time_base": [base.numerator, base.denominator], "num_missing": num_missing}


def require_memory(error: Exception) -> None:
    """Raises the error again if it is for want of memory, which is to be said as such."""
    if isinstance(error, MemoryError):
        raise error


@contextmanager
def refusing() -> Iterator[None]:
    """Whatever FFmpeg raises inside the block leaves it as the video's fault."""
    try:
        yield
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001  also of PyAV's own making, on damaged bytes
        what = getattr(error, "strerror", None) or error
        raise refused("DamagedVideo", f"cannot be read as a video: {what}") from None


def _container_of(head: bytes) -> str:
    if head[4:8] in _MOV_BOXES:
        return "mov"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "matroska"
    if head[:4] == b"RIFF" and head[8:11] == b"AVI":
        return "avi"
    raise refused("NotAVideo", f"neither MP4 or MOV, nor Matroska or WebM, nor AVI; it begins with {head!r}")


def _open(file: io.BufferedIOBase | io.RawIOBase, container: str) -> "InputContainer":
    try:
        import av
    except ImportError:
        raise RuntimeError("source=video needs PyAV on every node: pip install 'sam2-embed[video]'") from None

    return av.open(
        file,
        mode="r",
        format=container,
        options={"max_pixels": str(MAX_PIXELS)},
        container_options={"protocol_whitelist": "", "codec_whitelist": ",".join(sorted(_DECODERS))},
        metadata_errors="replace",
        buffer_size=_BUFFER_BYTES,
        io_open=_open_nothing,
    )


def _open_nothing(url: str, *_: Any) -> NoReturn:
    raise refused("OtherFileNamed", f"it wants {url[:200]!r} to be opened, and no video gets another file than its own")


def _pictures(container: "InputContainer") -> "VideoStream":
    """The first stream of pictures that is not a cover."""
    import av.stream

    cover = av.stream.Disposition.attached_pic
    found = [stream for stream in container.streams.video if not stream.disposition & cover]
    if not found:
        raise refused("NoVideoStream", "there are no moving pictures in it")
    return found[0]


def _require_decodable(container: "InputContainer", stream: "VideoStream") -> None:
    codec = stream.codec_context
    name = "unknown to FFmpeg" if codec is None else codec.name
    if name not in _DECODERS:
        raise refused("UnsupportedCodec", f"its codec is {name}, and none of {', '.join(sorted(_DECODERS))}")
    if not codec.width * codec.height:  # FFmpeg drops sizes beyond `max_pixels`
        raise refused("FrameSize", f"its head names no size of frames, or one of more than {MAX_PIXELS} pixels")
    if container.format.name == "avi" and name in ("h264", "hevc") and codec.has_b_frames:
        raise refused(
            "NoTimestamps", f"{name} in an AVI does not say when its frames are shown; encode it anew, as an MP4"
        )
    codec.options = {"max_pixels": str(MAX_PIXELS)}
