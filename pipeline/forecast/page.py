"""A forecast as a page for somebody who decides whether to spend the money: figures first, then what they rest on."""

from dataclasses import dataclass

from pipeline.featureset.maps import MapSpec
from pipeline.forecast.amounts import counted, dollar_text, size_text, table_lines, time_text
from pipeline.forecast.disk import Room
from pipeline.forecast.reckoning import HOUR_S, Forecast, Means, Prices, Speeds, Work, cpus_needed

# What an image costs beside what its encoder computes; where each of these is the slowest.
_LIMITS = {
    "encoders": "the encoders",
    "CPUs": "the CPUs that decode and write",
    "link": "the way to the sink",
    "requests": "requests to the store, 3,500 writing and 5,500 reading a second",
}
_NOT_MEASURED = "not measured: give plan.seconds_per_image=, or plan.measure_images=16 on that machine"


@dataclass(frozen=True)
class Page:
    """A forecast with all it rests on.

    Attributes:
        title: from where to where.
        model: which encoder, in which precision.
        choice: which features, as the command has them.
        maps: of an image.
        forecasts: what the command would take with a change, by the overrides that make it, and first without any.
        asks_for_parts: whether the listing read headers of files.
    """

    title: str
    model: str
    choice: str
    maps: tuple[MapSpec, ...]
    work: Work
    means: Means
    speeds: Speeds
    prices: Prices
    forecasts: dict[str, Forecast]
    room: Room | None
    asks_for_parts: bool

    @property
    def base(self) -> Forecast:
        """What the command would take as it is."""
        return self.forecasts[""]

    @property
    def others(self) -> list[tuple[str, Forecast]]:
        """What it would take with a change."""
        return [(change, each) for change, each in self.forecasts.items() if change]

    def text(self) -> str:
        """The lines to print."""
        parts = {"images": self._images()}
        if self.work.num_images:
            parts |= {
                "features": self._features(),
                "on disk": self._on_disk(),
                "encoders": self._encoders(),
                "time": self._time(),
                "writing": self._writing(),
                "memory": self._memory(),
                "dollars": self._dollars(),
                "slowest": self._slowest(),
                "to change": self._to_change(),
                "rests on": self._assumptions(),
            }
        lines = [self.title]
        for name, block in parts.items():
            lines += [f"  {name if not number else '':<10} {line}" for number, line in enumerate(block)]
        return "\n".join(lines)

    def _images(self) -> list[str]:
        work = self.work
        if not work.num_images:
            return [f"nothing to do: all {work.num_found:,} images found are in the feature set"]
        unsized = f", not counting {work.num_unsized:,} whose size the list does not tell" if work.num_unsized else ""
        lines = [f"{work.num_images:,} to embed, {size_text(work.in_bytes)} to read{unsized}"]
        done = work.num_found - work.num_images
        where = "the source" if work.run is None else f"run {work.run}, which is open and would be continued"
        lines.append(f"{work.num_found:,} found in {where}; {done:,} embedded already")
        if work.num_ignored:
            lines.append(f"{counted(work.num_ignored, 'file')} passed over by name")
        if self.asks_for_parts:
            lines.append("an image here is a part of a file; headers of the files were read to count them")
        return lines

    def _features(self) -> list[str]:
        volume = self.base.volume
        rows = [
            (
                spec.column,
                " x ".join(map(str, spec.shape_chw)),
                spec.dtype,
                size_text(spec.size_bytes),
                size_text(spec.size_bytes * volume.num_images),
            )
            for spec in self.maps
        ]
        beside = volume.image_bytes + volume.unit_bytes / volume.images_per_unit - sum(volume.map_bytes.values())
        total = volume.shard_bytes - sum(volume.map_bytes.values()) * volume.num_images
        rows += [("beside", "pooled vector, id, Parquet", "", size_text(beside), size_text(total))]
        rows += [("together", "", "", size_text(beside + sum(volume.map_bytes.values())), size_text(volume.shard_bytes))]
        return [self.choice, *table_lines([("", "", "", "an image", "all"), *rows], "<<<>>")]

    def _on_disk(self) -> list[str]:
        volume = self.base.volume
        units = f"{counted(volume.num_units, 'unit')} of {counted(volume.images_per_unit, 'image')}"
        lines = [
            f"{size_text(volume.total_bytes)} in {volume.num_objects:,} {'objects' if self.room is None else 'files'}",
            f"{units}: a shard each ({size_text(volume.shard_bytes / volume.num_units)}), a commit each, and "
            f"{volume.num_files} more; {size_text(volume.beside_bytes)} beside the shards",
        ]
        if self.room is not None:
            fits = "enough" if volume.total_bytes <= self.room.free_bytes else "TOO LITTLE"
            lines.append(f"{size_text(self.room.free_bytes)} are free there: {fits}")
        return lines

    def _encoders(self) -> list[str]:
        means, rate = self.means, self.speeds.rate
        cores = f" with {counted(means.num_cores, 'core')} in all" if means.device == "cpu" and means.num_cores else ""
        found = "found here" if means.are_here else "asked for; they are not here"
        lines = [f"{self.model}; {means.num_encoders} on {means.device}{cores}, {found}"]
        if rate is None:
            return [*lines, _NOT_MEASURED]
        hours = self.work.num_images * rate.seconds_per_image / HOUR_S
        lines.append(f"{rate.seconds_per_image:.3g} s an image, {rate.known_from}")
        kind = "GPU" if means.device == "cuda" else f"hours of {counted(rate.num_cores, 'core')}, core"
        each = hours * max(rate.num_cores, 1)
        lines.append(f"{hours:,.3g} {kind}-hours of computing" if not rate.num_cores else f"{each:,.3g} core-hours of computing")
        return lines

    def _time(self) -> list[str]:
        base, job = self.base, self.speeds.job
        if base.wall_s is None:
            known = f"at least {time_text(base.least_s)}, by {_LIMITS[next(iter(base.limits))]}" if base.limits else "not known"
            return [f"{known}: what an image takes the encoders is {_NOT_MEASURED}"]
        num = self.work.num_images
        parts = {
            "listing": self.work.listing_s,
            "start": job.start_s,
            "images": base.least_s,
            f"{self.work.num_audits} audits": self.work.num_audits * job.audit_s,
            "sealing": num * job.end_s,
        }
        told = ", ".join(f"{name} {time_text(seconds)}" for name, seconds in parts.items() if seconds >= 0.5)
        return [f"{time_text(base.wall_s)}: {told}", f"{num / base.least_s:,.3g} images a second while it goes"]

    def _writing(self) -> list[str]:
        base, means, rate = self.base, self.means, self.speeds.rate
        lines = []
        if rate is not None and "encoders" in base.limits:
            all_bytes_s = base.volume.image_bytes / base.limits["encoders"]
            one = size_text(all_bytes_s / means.num_encoders)
            lines.append(f"encoders at full speed write {size_text(all_bytes_s)} a second, {one} each")
        if means.link_bytes_s:
            lines.append(f"the way to the sink takes {size_text(means.link_bytes_s)} a second")
        else:
            lines.append("how much the way to the sink takes is not known: give plan.link_gbit_s= or plan.measure_images=16")
        if rate is not None and means.device == "cuda" and not means.num_cores:
            needed = cpus_needed(base.volume, rate=rate, job=self.speeds.job, num_encoders=means.num_encoders)
            lines.append(f"{counted(needed, 'core')} to decode and write at that speed, of photographs of 2 megapixels")
        return lines

    def _memory(self) -> list[str]:
        peak_gb = self.speeds.job.peak_gb
        if self.means.device == "cuda" or peak_gb is None:
            return ["not measured for these encoders"]
        return [f"{peak_gb:.1f} GB a machine with one encoder, measured with sam2.1_hiera_tiny and 2 cores"]

    def _dollars(self) -> list[str]:
        base = self.base
        compute = "not known" if base.compute_dollars is None else dollar_text(base.compute_dollars)
        requests = f"{base.num_puts:,} that write or list, {base.num_gets:,} that read"
        lines = [f"once: machines {compute}, requests {dollar_text(base.request_dollars)} ({requests})"]
        if self.room is not None:
            return [*lines, "a month: the disk's own price"]
        return [*lines, f"a month: {dollar_text(base.month_dollars)} for {size_text(base.volume.total_bytes)}"]

    def _slowest(self) -> list[str]:
        limits = {name: 1 / seconds for name, seconds in self.base.limits.items()}
        rows = [(_LIMITS[name], f"{value:,.3g} images a second") for name, value in limits.items()]
        if self.speeds.rate is None:
            rows.insert(0, (_LIMITS["encoders"], _NOT_MEASURED))
        return table_lines(rows, "<<")

    def _to_change(self) -> list[str]:
        if not self.others:
            return ["nothing that is known here"]
        first, helped = max(self.others, key=lambda other: _gain(self.base, other[1]))
        head = ("", "an image", "on disk", "time", "once", "a month")
        rows = [head, _row("as it is", self.base), *(_row(change, other) for change, other in self.others)]
        if _gain(self.base, helped) <= 0.01:
            return ["nothing here helps by more than 1%", *table_lines(rows, "<>>>>>")]
        return [f"{first} helps most: {_said(self.base, helped)}", *table_lines(rows, "<>>>>>")]

    def _assumptions(self) -> list[str]:
        work, job, prices = self.work, self.speeds.job, self.prices
        lines = ["every image can be decoded; what is quarantined takes no room"]
        if self.speeds.rate is not None and self.means.device == "cpu" and self.means.num_cores:
            if self.means.num_cores != self.speeds.rate.num_cores:
                lines.append(f"{self.means.num_cores} cores are {self.means.num_cores / self.speeds.rate.num_cores:.3g} "
                             f"times as fast as the {self.speeds.rate.num_cores} that were measured")
        lines.append(
            f"beside the encoder: {job.beside_core_s:.2g} core-seconds an image on its own cores, {job.decode_core_s:.2g} on "
            f"others, {job.write_core_s_per_gb:.2g} a GB written; {job.start_s:.0f} s until the first image"
        )
        lines.append("all encoders begin and end together; listing takes what it took just now" if work.run is None else "all encoders begin and end together")
        machine = f"${prices.gpu_hour:g} a GPU-hour" if self.means.device == "cuda" else f"${prices.cpu_hour:g} a core-hour"
        store = f"${prices.storage_gb_month:g} a GB and month, ${prices.put_1000:g} and ${prices.get_1000:g} per 1,000 requests that write and read"
        lines.append(f"prices, to be checked (prices.*): {machine}" + (f"; {store}" if work.writes_remote or work.reads_remote else ""))
        return lines


def _gain(base: Forecast, other: Forecast) -> float:
    """How much smaller the time gets, or where that is not known, the bytes; 0 to 1."""
    if base.wall_s is not None and other.wall_s is not None:
        saved = 1 - other.wall_s / base.wall_s
        if saved > 0.1:
            return 1 + saved
    return 1 - other.volume.total_bytes / base.volume.total_bytes


def _row(change: str, other: Forecast) -> tuple[str, ...]:
    return (
        change,
        size_text(other.volume.image_bytes),
        size_text(other.volume.total_bytes),
        "?" if other.wall_s is None else time_text(other.wall_s),
        "?" if other.compute_dollars is None else dollar_text(other.compute_dollars + other.request_dollars),
        dollar_text(other.month_dollars) if other.month_dollars else "-",
    )


def _said(base: Forecast, other: Forecast) -> str:
    parts = [f"{size_text(base.volume.total_bytes)} -> {size_text(other.volume.total_bytes)}"]
    if base.wall_s is not None and other.wall_s is not None:
        parts.insert(0, f"{time_text(base.wall_s)} -> {time_text(other.wall_s)}")
    if base.month_dollars:
        parts.append(f"{dollar_text(base.month_dollars)} -> {dollar_text(other.month_dollars)} a month")
    return ", ".join(part for part in parts if part.split(" -> ")[0] != part.split(" -> ")[1])
