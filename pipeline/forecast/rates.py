"""How long an image takes an encoder, and a job beside it: a small table of what was measured, and nothing else."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

TABLE = Path(__file__).with_name("rates.yaml")


@dataclass(frozen=True)
class Job:
    """What a job takes beside its encoders.

    Attributes:
        beside_core_s: of a core, an image, where encoders compute on the same cores; without the writing.
        decode_core_s: of a core, an image, where they do not.
        write_core_s_per_gb: of a core, a GB of shards.
        start_s: until the first image is encoded.
        audit_s: an audit makes a run longer by.
        end_s: to plan and to seal, an image.
        peak_gb: memory of all processes on one machine with one encoder on its CPUs.
    """

    beside_core_s: float
    decode_core_s: float
    write_core_s_per_gb: float
    start_s: float
    audit_s: float
    end_s: float
    peak_gb: float | None


@dataclass(frozen=True)
class Rate:
    """Seconds that an image takes one encoder, which has so many cores (none: a GPU), and how that is known.

    Attributes:
        is_elsewhere: whether it was measured on other hardware, if perhaps of the same kind.
    """

    seconds_per_image: float
    num_cores: int
    known_from: str
    is_elsewhere: bool = False


@cache
def _table() -> dict[str, Any]:
    return dict(yaml.safe_load(TABLE.read_text()))


def known_job() -> Job:
    """What jobs took beside their encoders where that was measured."""
    values = _table()["job"]
    return Job(
        beside_core_s=values["beside_core_seconds"],
        decode_core_s=values["decode_core_seconds"],
        write_core_s_per_gb=values["write_core_seconds_per_gb"],
        start_s=values["start_seconds"],
        audit_s=values["audit_seconds"],
        end_s=values["seconds_per_million"] / 1e6,
        peak_gb=values["peak_gb"],
    )


def known_rate(model: str, *, device: str, precision: str, side_px: int) -> Rate | None:
    """The rate of an encoder that was measured; None of any other.

    Args:
        model: its name; of one that was changed by overrides nothing is known.
        device: `cpu` or `cuda`.
        precision: what it computes in.
        side_px: of its input, in pixels.
    """
    wanted = {"device": device, "precision": precision, "side_px": side_px}
    for entry in _table()["encoders"]:
        if model in entry["models"] and {key: entry[key] for key in wanted} == wanted:
            known_from = f"measured on {entry['hardware']}, {entry['source']}"
            return Rate(entry["seconds_per_image"], entry["num_cores"], known_from, is_elsewhere=True)
    return None
