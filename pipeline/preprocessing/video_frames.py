"""Single frames of a video by their times, exactly those that decoding all of it in order would give.

Decoding goes on from where it is while that is nearer; else it begins at the keyframe before. Damage that the decoder
notices spoils all frames up to the next keyframe, for they are made of the damaged one.
"""

from collections import deque
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import ImageError
from pipeline.featureset.part import Part
from pipeline.preprocessing.refusal import refused
from pipeline.preprocessing.served_file import ServedFile
from pipeline.preprocessing.video import OpenVideo, frame_times, refusing, require_memory
from pipeline.preprocessing.video_pixels import rgb_of_frame

if TYPE_CHECKING:
    from collections.abc import Iterator

    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_MAX_SEEKS = 8


def frame_of(source: ServedFile, part: Part) -> np.ndarray:
    """The (height, width, 3) uint8 pixels of a frame.

    Args:
        source: the video; it stays open in `source.opened`.
        part: names the frame; without its `pts` it stands for a video that could not be read when it was planned.

    Raises:
        ImageError: stage `decode`; the video or this frame cannot be decoded.
    """
    if part.pts is None:
        raise _why_unplanned(source)
    if not isinstance(source.opened, FrameReader):
        source.opened = FrameReader(source)
    with refusing():
        return rgb_of_frame(source.opened.frame(part.pts))


def _why_unplanned(source: ServedFile) -> ImageError:
    found = frame_times(source)
    if found["num_missing"]:
        count = len(found["pts"])
        return refused("TruncatedVideo", f"the file ends after {count} of {count + found['num_missing']} frames")
    message = "it could not be read when it was planned, and can be now; a later run takes its frames"
    return ImageError(message, stage="decode", error_type="VideoUnplanned", error_class="transient")


class FrameReader:
    """Gives frames by their times, in any order; ascending ones are cheap.

    Args:
        file: the video.

    Raises:
        ImageError: as `OpenVideo`.
    """

    def __init__(self, file: ServedFile) -> None:
        self._file = file
        self._video: OpenVideo
        self._begin()

    def frame(self, pts: int) -> "VideoFrame":
        """The frame of that time, in ticks of the stream.

        Raises:
            ImageError: it does not come out of the decoder, or damaged.
        """
        if self._last is not None and self._last_pts == pts:
            return self._sound(self._last)
        if self._is_worth_a_seek(pts):
            self._seek(pts)
        for _ in range(_MAX_SEEKS):
            if self._advance(pts):
                return self._sound(self._last)
            if self._first_pts is not None and self._first_pts < pts:
                break
            if self._key_pts is None:  # nothing comes before the beginning
                break
            self._seek(self._key_pts - 1, before=self._key_pts)
        else:
            self._begin()
            if self._advance(pts):
                return self._sound(self._last)
        raise refused("MissingFrame", f"no frame comes out of the decoder for the time {pts}: the video is damaged")

    def _sound(self, frame: "VideoFrame | None") -> "VideoFrame":
        assert frame is not None
        if self._is_spoilt:
            raise refused("DamagedVideo", "the decoder found damage in this frame, or in one that it is made of")
        return frame

    def _begin(self) -> None:
        """Opens the video anew, to decode it from its beginning."""
        self._video = OpenVideo(self._file)
        self._restart()
        self._decoded = self._decode(self._video.packets())

    def _restart(self) -> None:
        self._last: VideoFrame | None = None
        self._last_pts: int | None = None
        self._first_pts: int | None = None
        self._key_pts: int | None = None
        self._is_damaged = self._is_spoilt = False

    def _is_worth_a_seek(self, pts: int) -> bool:
        """Whether the frame lies behind, or a keyframe lies between here and it."""
        if self._last_pts is not None and self._last_pts > pts:
            return True
        delay, entries = self._video.first_delay, self._video.stream.index_entries
        place = entries.search_timestamp(pts - delay)
        if place < 0:  # the index is not read yet, or there is none
            return self._last_pts is None
        return self._last_pts is None or entries[place].timestamp + delay > self._last_pts

    def _seek(self, pts: int, *, before: int | None = None) -> None:
        """Begins at the last keyframe that is shown no later, or somewhat earlier, but in any case `before` a time."""
        import av

        try:
            self._video.container.seek(pts - self._video.first_delay, stream=self._video.stream)
        except av.FFmpegError as error:
            require_memory(error)
            self._begin()
            return
        packets = self._video.packets()
        key = next((packet for packet in packets if packet.is_keyframe and packet.pts is not None), None)
        if key is None or key.pts is None or (before is not None and key.pts >= before):
            self._begin()  # the container does not find its keyframes
            return
        self._restart()
        self._key_pts = key.pts
        self._decoded = self._decode(chain([key], packets))

    def _advance(self, pts: int) -> bool:
        """Decodes up to the frame of that time, or past it; says whether it came."""
        for frame in self._decoded:
            if frame.pts is None or (self._key_pts is not None and frame.pts < self._key_pts):
                continue  # before the keyframe that decoding began at, so perhaps made of frames that were not decoded
            self._last, self._last_pts = frame, frame.pts
            if self._first_pts is None:
                self._first_pts = frame.pts
            if frame.pts >= pts:
                return bool(frame.pts == pts)
        return False

    def _decode(self, packets: "Iterator[Packet[VideoStream]]") -> "Iterator[VideoFrame]":
        """The frames as they are shown, with `_is_spoilt` for each.

        A frame may be made of some that are shown after it, so each waits for as many as the codec reorders.
        """
        waiting: deque[VideoFrame] = deque()
        for frame in self._shown(packets):
            waiting.append(frame)
            if len(waiting) > self._video.stream.codec_context.has_b_frames:
                yield self._judged(waiting)
        while waiting:
            yield self._judged(waiting)

    def _judged(self, waiting: "deque[VideoFrame]") -> "VideoFrame":
        frame = waiting.popleft()
        if frame.is_corrupt:
            self._is_damaged = True
        elif frame.key_frame:
            self._is_damaged = False
        self._is_spoilt = self._is_damaged or any(each.is_corrupt for each in waiting)
        return frame

    def _shown(self, packets: "Iterator[Packet[VideoStream]]") -> "Iterator[VideoFrame]":
        import av

        # To a decoder an empty packet means that the end has come.
        for packet in chain((each for each in packets if each.size), [None]):
            try:
                yield from self._video.stream.codec_context.decode(packet)
            except av.FFmpegError as error:
                require_memory(error)
                self._is_damaged = True
