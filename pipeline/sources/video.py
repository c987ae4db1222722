"""Every n-th frame of videos below a folder or prefix, or of one video; an id is the video's path with `#frame=120`.

The times of frames are what the decoder process says, which the source is given as a function: nothing is parsed here.
"""

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.errors import ImageError, SourceError
from pipeline.featureset.part import Part
from pipeline.featureset.schema import PART
from pipeline.sources.files import SourceFiles
from pipeline.sources.image_ref import REFS, REFS_AT_ONCE, Ask
from pipeline.storage.trouble import PATIENCE_S

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi")

FRAMES = pa.schema(
    [
        *REFS,
        PART,
        pa.field("video", pa.string(), metadata={"meaning": "path of the video below the source"}),
        pa.field("frame", pa.int64(), metadata={"meaning": "place among the video's frames as they are shown, from 0"}),
        pa.field("timestamp_s", pa.float64(), metadata={"meaning": "when the frame is shown", "unit": "seconds"}),
    ]
)


class VideoSource:
    """Frames of the videos below a folder or prefix, or of one file; listed once `ask` is given.

    Args:
        uri: the folder or file.
        suffixes: which file names count as videos, with the dot, in any case; None takes every file.
        every: takes the first frame of each video, and every so-manieth after it.
        patience_s: how long an object store may be in trouble, in seconds.
        ask: finds the times of a video's frames (`video` of `decoder_requests.probe`).

    Raises:
        SourceError: no such folder or file, or PyAV is not installed.
    """

    schema = FRAMES

    def __init__(
        self,
        uri: str,
        suffixes: tuple[str, ...] | None = VIDEO_SUFFIXES,
        every: int = 30,
        *,
        patience_s: float = PATIENCE_S,
        ask: Ask | None = None,
    ) -> None:
        if find_spec("av") is None:
            raise SourceError("source=video needs PyAV, here and on every node: pip install 'sam2-embed[video]'")
        self._files = SourceFiles(uri, suffixes, patience_s)
        self._every, self._ask = every, ask
        chosen = None if self._files.suffixes is None else list(self._files.suffixes)
        self.description: dict[str, Any] = {
            "kind": "video",
            "uri": self._files.uri,
            "suffixes": chosen,
            "every": every,
        }

    @property
    def num_ignored(self) -> int:
        """Files of other suffixes."""
        return self._files.num_others

    def refs(self) -> Iterator[pa.RecordBatch]:
        """Frames in the order of their videos' paths and of their times; a video that cannot be read is one ref.

        Raises:
            SourceError, AccessDeniedError, StoreUnavailableError: the source, or a store, cannot be read.
        """
        waiting: list[pa.RecordBatch] = []
        for file in self._files:
            video = {"image_id": file.name, "uri": file.uri, "size_bytes": file.size_bytes, "version": file.version}
            waiting.append(self._frames_of(video))
            if sum(batch.num_rows for batch in waiting) >= REFS_AT_ONCE:
                yield pa.concat_batches(waiting)
                waiting = []
        if waiting:
            yield pa.concat_batches(waiting)

    def _frames_of(self, video: Mapping[str, Any]) -> pa.RecordBatch:
        if self._ask is None:
            raise SourceError("source=video gives frames to jobs/embed.py alone: take images instead")
        try:
            found = self._ask(video, "video")
        except ImageError:  # reading it for its quarantine row tells the reason
            return _batch(video, [], [])
        pts = found["pts"][:: self._every]
        seconds = np.array(pts, np.float64) * found["time_base"][0] / found["time_base"][1]
        numbers = list(range(0, len(found["pts"]), self._every))
        parts = [Part(video_frame=number, pts=each) for number, each in zip(numbers, pts, strict=True)]
        return _batch(video, parts, seconds.tolist(), is_whole=not found["num_missing"])


def _batch(
    video: Mapping[str, Any], parts: list[Part], seconds: list[float], *, is_whole: bool = False
) -> pa.RecordBatch:
    """The frames; and the video itself, if it is not whole, so that what it lacks is accounted for."""
    name = video["image_id"]
    rest = [] if is_whole else [None]
    ids = [*(f"{name}#frame={part.video_frame}" for part in parts), *(name for _ in rest)]
    count = len(ids)
    columns = {
        "image_id": ids,
        **{key: [video[key]] * count for key in ("uri", "size_bytes", "version")},
        PART.name: [part.text for part in (*parts, *(Part(video_frame=0) for _ in rest))],
        "video": [name] * count,
        "frame": [*(part.video_frame for part in parts), *rest],
        "timestamp_s": [*seconds, *rest],
    }
    return pa.record_batch([pa.array(columns[field.name], field.type) for field in FRAMES], schema=FRAMES)
