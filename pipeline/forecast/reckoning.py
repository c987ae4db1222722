"""What a run asks of each thing it needs, how long that takes, and what it costs: arithmetic over plain numbers.

Everything goes on at once, so a run is as slow as the slowest of its encoders, CPUs, link and requests.
"""

from dataclasses import dataclass

from pipeline.forecast.rates import Job, Rate
from pipeline.forecast.volume import Volume
from pipeline.storage.s3_upload import PART_BYTES

HOUR_S = 3600.0
# What S3 takes a second below one prefix, as AWS says; it asks for patience until it has spread a new prefix.
PUTS_PER_S, GETS_PER_S = 3_500, 5_500
_KEYS_A_LISTING = 1_000


@dataclass(frozen=True)
class Work:
    """What is there to do.

    Attributes:
        num_found: images of the source.
        num_images: of those, that are not in the feature set yet.
        in_bytes: to read for them.
        num_unsized: images of which nobody said how many bytes they have.
        num_ignored: files that were passed over because of their names.
        num_audits: images that are embedded a second time.
        listing_s: what finding out took just now.
        run: the open run that is continued, if one is.
        reads_remote, writes_remote: whether images, and features, are in an object store.
    """

    num_found: int
    num_images: int
    in_bytes: int
    num_unsized: int = 0
    num_ignored: int = 0
    num_audits: int = 0
    listing_s: float = 0.0
    run: int | None = None
    reads_remote: bool = False
    writes_remote: bool = False


@dataclass(frozen=True)
class Means:
    """What there is to do it with.

    Attributes:
        device: of the encoders.
        num_cores: of all machines; None if that is not known.
        link_bytes_s: what can be written a second; None if that is not known.
        are_here: whether these encoders were found, not only asked for.
    """

    device: str
    num_encoders: int
    num_cores: int | None
    link_bytes_s: float | None
    are_here: bool = True


@dataclass(frozen=True)
class Speeds:
    """How fast an encoder is, None where nobody knows, and what a job takes beside it."""

    rate: Rate | None
    job: Job


@dataclass(frozen=True)
class Prices:
    """Dollars."""

    storage_gb_month: float
    put_1000: float
    get_1000: float
    gpu_hour: float
    cpu_hour: float


@dataclass(frozen=True)
class Forecast:
    """What a run will take.

    Attributes:
        limits: seconds an image if this alone set the pace, greatest first; without what is not known.
        wall_s: the whole command; None where no rate of the encoders is known.
        least_s: what the other limits allow at best.
        compute_dollars: of the machines for that time; None where it is not known.
    """

    volume: Volume
    limits: dict[str, float]
    wall_s: float | None
    least_s: float
    num_puts: int
    num_gets: int
    compute_dollars: float | None
    request_dollars: float
    month_dollars: float

    @property
    def bottleneck(self) -> str | None:
        """What sets the pace; None where that is not known."""
        return None if self.wall_s is None else next(iter(self.limits))


def forecast(volume: Volume, work: Work, *, means: Means, speeds: Speeds, prices: Prices) -> Forecast:
    """What a run will take.

    Args:
        volume: what it writes.
        work: what is to be done.
        means: with what.
        speeds: of that.
        prices: of what it uses.
    """
    rate, job = speeds.rate, speeds.job
    num_puts, num_gets = _requests(volume, work)
    limits = _limits(volume, work, means=means, speeds=speeds)
    if volume.num_images:
        limits |= {"requests": max(num_puts / PUTS_PER_S, num_gets / GETS_PER_S) / volume.num_images}
    limits = dict(sorted(((name, value) for name, value in limits.items() if value), key=lambda item: -item[1]))
    around_s = work.listing_s + job.start_s + work.num_audits * job.audit_s + volume.num_images * job.end_s
    pace_s = volume.num_images * next(iter(limits.values()), 0.0)
    wall_s = around_s + pace_s if rate is not None and volume.num_images else None
    return Forecast(
        volume=volume,
        limits=limits,
        wall_s=wall_s,
        least_s=pace_s,
        num_puts=num_puts,
        num_gets=num_gets,
        compute_dollars=None
        if wall_s is None or rate is None
        else _machine_dollars_an_hour(means, prices, rate) * wall_s / HOUR_S,
        request_dollars=(num_puts * prices.put_1000 + num_gets * prices.get_1000) / 1_000,
        month_dollars=volume.total_bytes / 1e9 * prices.storage_gb_month if work.writes_remote else 0.0,
    )


def _limits(volume: Volume, work: Work, *, means: Means, speeds: Speeds) -> dict[str, float]:
    """Seconds an image by what it takes them of."""
    limits, rate, job = {}, speeds.rate, speeds.job
    write_core_s = volume.image_bytes / 1e9 * job.write_core_s_per_gb
    if rate is not None and means.device == "cuda":
        limits["encoders"] = rate.seconds_per_image / means.num_encoders
    elif rate is not None:
        # Encoders share their cores with all that is done beside them.
        core_s = rate.seconds_per_image * rate.num_cores + job.beside_core_s + write_core_s
        limits["encoders"] = core_s / (means.num_cores or rate.num_cores * means.num_encoders)
    if means.device == "cuda" and means.num_cores:
        limits["CPUs"] = (job.decode_core_s + write_core_s) / means.num_cores
    if means.link_bytes_s:
        in_bytes = work.in_bytes / work.num_images if work.reads_remote and work.num_images else 0.0
        limits["link"] = max(volume.image_bytes, in_bytes) / means.link_bytes_s
    return limits


def cpus_needed(volume: Volume, *, rate: Rate, job: Job, num_encoders: int) -> int:
    """Cores that decode and write as fast as so many encoders on GPUs encode."""
    core_s = job.decode_core_s + volume.image_bytes / 1e9 * job.write_core_s_per_gb
    return max(1, round(num_encoders * core_s / rate.seconds_per_image + 0.5))


def _requests(volume: Volume, work: Work) -> tuple[int, int]:
    """Requests that write or list, and that read.

    A shard is one up to a part's size, else one to begin, one a part and one to complete; a commit is one. Two looks
    at a commit before its unit is embedded, one when the run is sealed.
    """
    num_puts = num_gets = 0
    if work.writes_remote:
        num_parts = -(-volume.whole_shard_bytes // PART_BYTES)
        shard_puts = 1 if num_parts == 1 else num_parts + 2
        num_puts = volume.num_units * (shard_puts + 1) + volume.num_files + -(-volume.num_units // _KEYS_A_LISTING)
        num_gets = 3 * volume.num_units
    if work.reads_remote:
        num_puts += -(-work.num_found // _KEYS_A_LISTING)
        num_gets += volume.num_images
    return num_puts, num_gets


def _machine_dollars_an_hour(means: Means, prices: Prices, rate: Rate) -> float:
    """What the encoders' machines cost: GPUs with what comes with them, or CPUs."""
    if means.device == "cuda":
        return means.num_encoders * prices.gpu_hour
    return (means.num_cores or rate.num_cores * means.num_encoders) * prices.cpu_hour
