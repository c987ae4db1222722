"""How many images failed so far and why, and whether so many that the run had better stop."""

from collections import Counter
from collections.abc import Mapping

from pipeline.errors import TooManyFailedError

# Before a run has seen this many images, a share of them says little.
_ENOUGH_IMAGES = 500


class Failures:
    """Counts of quarantined images by error type."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._num_images = 0
        self._example = ""

    def add(self, failures: Mapping[str, int], num_images: int, example: str) -> None:
        """Counts a unit of `num_images`: failures by error type, and one of them in words."""
        self._counts.update(failures)
        self._num_images += num_images
        self._example = self._example or example

    def check(self, num_planned: int, max_share: float | None) -> None:
        """Ends a run that will fail too often: for certain, or by the look of its first few hundred images.

        Args:
            num_planned: images of the run.
            max_share: of images that may fail, 0 to 1; None allows all.

        Raises:
            TooManyFailedError: says how many failed, and why.
        """
        num_failed = self._counts.total()
        if max_share is None or not num_failed:
            return
        looks_bad = self._num_images >= _ENOUGH_IMAGES and num_failed / self._num_images > max_share
        if looks_bad or num_failed / num_planned > max_share:
            reasons = ", ".join(f"{count} {name}" for name, count in self._counts.most_common(5))
            raise TooManyFailedError(
                f"{num_failed} of the first {self._num_images} images failed ({reasons}), more than "
                f"run.max_failed_share={max_share:g} allows; for example {self._example}",
                "what is committed stays, and what failed counts until this run ends: allow a larger share and run "
                "the same command again, or mend the cause and give the run up with jobs/abandon.py",
            )
