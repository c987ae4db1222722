"""Every n-th frame of videos below a folder or prefix, or of one video; an id is the video's path with `#frame=120`.

The times of frames are what the decoder process says, which the source is given as a function: nothing is parsed here.
"""

from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.errors import SourceError, StoreUnavailableError
from pipeline.featureset.part import Part
from pipeline.featureset.schema import PART
from pipeline.sources.directory import DirectorySource
from pipeline.sources.image_ref import REFS, REFS_AT_ONCE, refs_batch
from pipeline.storage.folder import Folder
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

# The ref of a video to its `frame_times`; None if it cannot be read, for reasons that its quarantine row will have.
Look = Callable[[Mapping[str, Any]], Mapping[str, Any] | None]


class VideoSource:
    """Frames of the videos below a folder or prefix that fsspec knows, or of one file; listed once `look` is given.

    Args:
        uri: the folder or file.
        suffixes: which file names count as videos, with the dot, in any case; None takes every file.
        every: takes the first frame of each video, and every so-manieth after it.
        patience_s: how long an object store may be in trouble, in seconds.
        look: finds the times of a video's frames.

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
        look: Look | None = None,
    ) -> None:
        if find_spec("av") is None:
            raise SourceError("source=video needs PyAV, here and on every node: pip install 'sam2-embed[video]'")
        self._files = _OneFile.at(uri, patience_s) or DirectorySource(uri, suffixes, patience_s)
        self._every, self._look = every, look
        self.num_ignored = 0
        self.description: dict[str, Any] = {**self._files.description, "kind": "video", "every": every}

    def refs(self) -> Iterator[pa.RecordBatch]:
        """Frames in the order of their videos' paths and of their times; a video that cannot be read is one ref.

        Raises:
            SourceError, AccessDeniedError, StoreUnavailableError: the source, or a store, cannot be read.
        """
        waiting: list[pa.RecordBatch] = []
        for files in self._files.refs():
            self.num_ignored = self._files.num_ignored
            for video in files.to_pylist():
                waiting.append(self._frames_of(video))
                if sum(batch.num_rows for batch in waiting) >= REFS_AT_ONCE:
                    yield pa.concat_batches(waiting)
                    waiting = []
        if waiting:
            yield pa.concat_batches(waiting)

    def _frames_of(self, video: Mapping[str, Any]) -> pa.RecordBatch:
        if self._look is None:
            raise SourceError("source=video gives frames to jobs/embed.py alone: take images instead")
        found = self._look(video)
        if found is None:
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


class _OneFile:
    """A file as if it were alone in its folder."""

    num_ignored = 0

    def __init__(self, folder: Folder, name: str, ref: tuple[str, str, int, str]) -> None:
        self._ref = ref
        self.description: dict[str, Any] = {"uri": folder.uri_of(name), "suffixes": None}

    @classmethod
    def at(cls, uri: str, patience_s: float) -> "_OneFile | None":
        """The file at the URI; None if there is none, which may be a folder."""
        place, _, name = uri.rpartition("/")
        if not name:
            return None
        folder = Folder(place or ("/" if uri.startswith("/") else "."), patience_s)
        try:
            if Folder(uri, patience_s).is_folder():
                return None
            entry = folder.entry(name)
        except StoreUnavailableError:
            raise
        except OSError:  # taken for a folder, it is told what is wrong with it
            return None
        return cls(folder, name, (name, folder.uri_of(name), entry.size_bytes, entry.version))

    def refs(self) -> Iterator[pa.RecordBatch]:
        """The one."""
        yield refs_batch([self._ref])
