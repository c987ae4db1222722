"""The frames of one video in a feature set, in order of time: they are found at once, and read one by one."""

from collections.abc import Callable, Iterable, Iterator
from typing import overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import ImageNotFoundError
from pipeline.readers.row import FeatureRow

# A list of images may say `video` of them too; what are frames have all three.
_OF_FRAMES = {"video", "frame", "timestamp_s"}

Rows = Callable[[Iterable[int]], Iterator[FeatureRow]]


class VideoFrames:
    """A sequence of rows; made by `FeatureSet.frames`.

    Args:
        images: of the frames: `image_id`, `frame` and `timestamp_s`, in order.
        places: where each is among the set's rows.
        rows: reads rows by their places.

    Attributes:
        image_ids: of the rows.
        numbers: place of each frame among all frames of its video, from 0; int64.
        timestamps_s: when each is shown, in seconds; float64.
    """

    def __init__(self, images: pa.Table, places: np.ndarray, rows: Rows) -> None:
        self.image_ids: list[str] = images["image_id"].to_pylist()
        self.numbers, self.timestamps_s = images["frame"].to_numpy(), images["timestamp_s"].to_numpy()
        self._places, self._rows = places, rows

    def __len__(self) -> int:
        return len(self.image_ids)

    @overload
    def __getitem__(self, place: int) -> FeatureRow: ...

    @overload
    def __getitem__(self, place: slice) -> list[FeatureRow]: ...

    def __getitem__(self, place: int | slice) -> FeatureRow | list[FeatureRow]:
        """The row of a frame, or those of some.

        Raises:
            IndexError: there is no such frame.
            FeatureSetError, AccessDeniedError, StoreUnavailableError: its shard cannot be read.
        """
        if isinstance(place, slice):
            return list(self._rows(self._places[place].tolist()))
        return next(self._rows([int(self._places[place])]))

    def __iter__(self) -> Iterator[FeatureRow]:
        """All rows, read a few ahead."""
        return self._rows(self._places.tolist())


def frames_of(images: pa.Table, video: str, rows: Rows) -> VideoFrames:
    """The frames of a video among the images of a feature set.

    Raises:
        ImageNotFoundError: there are none.
    """
    if not set(images.column_names) >= _OF_FRAMES:
        raise ImageNotFoundError("no image here is a frame of a video: embed with source=video")
    is_of_it = pc.and_(pc.equal(images["video"], video), pc.is_valid(images["frame"]))
    places = np.flatnonzero(pc.fill_null(is_of_it, False).to_numpy())
    if not len(places):
        some = pc.unique(images["video"].drop_null()).to_pylist()[:3]
        raise ImageNotFoundError(f"no frame of {video!r} is here; the first videos are {', '.join(map(repr, some))}")
    places = places[np.argsort(images["frame"].to_numpy()[places])]
    return VideoFrames(images.take(pa.array(places)), places, rows)
