"""Where lines and bars of a chart go: numbers in, coordinates out; the page draws them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.observability.advice import MEANINGS
from pipeline.report.work import CAUSES, Encoder, Work

_LEAST_SHARE = 0.0005


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: where, 0 to 1, and what it says."""

    place: float
    label: str


def ticks(greatest: float, about: int = 4) -> list[float]:
    """Round numbers from 0 to the first that is no less than `greatest`."""
    if not greatest > 0:
        return [0.0, 1.0]
    rough = greatest / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(times * power for times in (1, 2, 5, 10) if times * power >= rough * (1 - 1e-9))
    return [number * step for number in range(math.ceil(greatest / step - 1e-9) + 1)]


def throughput(work: Work) -> dict[str, Any]:
    """The rates of a run as bars: `bars` (left, width, height; 0 to 1), axes and the mean, which is a line."""
    unit, divisor = _unit(work.wall_s)
    mean = work.num_images / work.wall_s if work.wall_s else 0.0
    scale = ticks(max([*work.rates, mean]))
    width = 1 / len(work.rates)
    along = ticks(work.wall_s / divisor, 6)
    return {
        "bars": [(number * width, width, rate / scale[-1]) for number, rate in enumerate(work.rates)],
        "y_ticks": [Tick(value / scale[-1], f"{value:g}") for value in scale],
        "x_ticks": [
            Tick(value * divisor / work.wall_s, f"{value:g}") for value in along if value * divisor <= work.wall_s
        ]
        if work.wall_s
        else [],
        "x_unit": unit,
        "mean": Tick(mean / scale[-1], f"{mean:.3g}"),
        "begins": [began / work.wall_s for began in work.begins_s[1:]] if work.wall_s else [],
        "most": max(work.rates),
    }


def causes(encoders: Sequence[Encoder], most: int = 12) -> list[dict[str, Any]]:
    """A bar an encoder, or one of all where there are more than `most`: its segments (cause, left, width; 0 to 1)."""
    if len(encoders) > most:
        total = {cause: sum(each.seconds[cause] for each in encoders) for cause in CAUSES}
        return [_bar(f"all {len(encoders)} encoders", total)]
    return [_bar(each.name, each.seconds) for each in encoders]


def causes_table(seconds: Mapping[str, float]) -> list[dict[str, Any]]:
    """The causes that took time, greatest first, with their meaning, seconds and share."""
    whole = sum(seconds.values()) or 1.0
    return [
        {"cause": cause, "meaning": MEANINGS[cause], "seconds": value, "share": value / whole}
        for cause, value in sorted(seconds.items(), key=lambda item: -item[1])
        if value / whole >= _LEAST_SHARE
    ]


def _bar(name: str, seconds: Mapping[str, float]) -> dict[str, Any]:
    whole, left, segments = sum(seconds.values()), 0.0, []
    for cause in CAUSES:
        width = seconds.get(cause, 0.0) / whole if whole else 0.0
        if width >= _LEAST_SHARE:
            segments.append({"cause": cause, "left": left, "width": width})
        left += width
    return {"name": name, "wall_s": whole, "segments": segments}


def _unit(seconds: float) -> tuple[str, float]:
    """In what to say how long something took."""
    return ("seconds", 1.0) if seconds < 180 else ("minutes", 60.0) if seconds < 7200 else ("hours", 3600.0)
