"""A forecast as a page for somebody who decides whether to spend the money: figures first, then what they rest on."""

from dataclasses import dataclass

from pipeline.featureset.maps import MapSpec
from pipeline.forecast.disk import Room
from pipeline.forecast.reckoning import HOUR_S, Forecast, Means, Prices, Speeds, Work, cpus_needed
from pipeline.observability.amounts import counted, dollar_text, rate_text, size_text, table_lines, time_text

_NOT_MEASURED = "not measured: give plan.seconds_per_image=, or plan.measure_images=16 on such a machine"
# Units of pixels that an encoder has, or that are on their way to it.
_UNITS_AHEAD = 3
# What is not worth changing anything for.
_LITTLE = 0.1


@dataclass(frozen=True)
class Page:
    """A forecast with all it rests on.

    Attributes:
        title: from where to where.
        model: which encoder, in which precision.
        choice: which features, as the command has them.
        maps: of an image.
        pixel_bytes: of an image on its way to the encoder.
        forecasts: what the command would take with a change, by the overrides that make it, and first without any.
        asks_for_parts: whether the listing read headers of files.
    """

    title: str
    model: str
    choice: str
    maps: tuple[MapSpec, ...]
    pixel_bytes: int
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
            lines += [f"  {'' if number else name:<10} {line}" for number, line in enumerate(block)]
        return "\n".join(lines)

    def _images(self) -> list[str]:
        work = self.work
        if not work.num_images:
            return [f"nothing to do: all {work.num_found:,} images found are in the feature set"]
        unsized = f", not counting {work.num_unsized:,} whose size nobody told" if work.num_unsized else ""
        where = "in the source" if work.run is None else f"in run {work.run}, which is open and would be continued"
        lines = [
            f"{work.num_images:,} to embed, {size_text(work.in_bytes)} to read{unsized}",
            f"{work.num_found:,} found {where}; {work.num_found - work.num_images:,} in the feature set already",
        ]
        if work.num_ignored:
            lines.append(f"{counted(work.num_ignored, 'file')} passed over by name")
        if self.asks_for_parts:
            lines.append("an image here is a part of a file: headers of the files were read to count them, no pixels")
        return lines

    def _features(self) -> list[str]:
        volume = self.base.volume
        map_bytes = sum(volume.map_bytes.values())
        all_bytes = volume.shard_bytes / volume.num_images
        rows = [("", "", "", "an image", "all")]
        for spec in self.maps:
            shape, every = " x ".join(map(str, spec.shape_chw)), spec.size_bytes * volume.num_images
            rows.append((spec.column, shape, spec.dtype, size_text(spec.size_bytes), size_text(every)))
        beside = (size_text(all_bytes - map_bytes), size_text(volume.shard_bytes - map_bytes * volume.num_images))
        rows.append(("beside", "pooled vector, id, Parquet's own", "", *beside))
        rows.append(("together", "", "", size_text(all_bytes), size_text(volume.shard_bytes)))
        return [self.choice, *table_lines(rows, "<<<>>")]

    def _on_disk(self) -> list[str]:
        volume = self.base.volume
        units = f"{counted(volume.num_units, 'unit')} of {counted(volume.images_per_unit, 'image')}"
        lines = [
            f"{size_text(volume.total_bytes)} in {volume.num_objects:,} {'objects' if self.room is None else 'files'}",
            f"{units}: a shard ({size_text(volume.whole_shard_bytes)}) and a commit each; {volume.num_files} more",
            f"{size_text(volume.beside_bytes)} of it are commits, plan, index and position encodings",
        ]
        if self.room is not None:
            fits = "enough" if volume.total_bytes <= self.room.free_bytes else "TOO LITTLE"
            lines.append(f"{size_text(self.room.free_bytes)} are free there: {fits}")
        return lines

    def _encoders(self) -> list[str]:
        means, rate = self.means, self.speeds.rate
        cores = f" with {counted(means.num_cores, 'core')} in all" if means.device == "cpu" and means.num_cores else ""
        found = "found here" if means.are_here else "asked for, not here"
        lines = [f"{self.model}; {means.num_encoders} on {means.device}{cores}, {found}"]
        if rate is None:
            return [*lines, f"seconds an image: {_NOT_MEASURED}"]
        hours = self.work.num_images * rate.seconds_per_image / HOUR_S
        amount = f"{hours:,.3g} GPU-hours" if not rate.num_cores else f"{hours * rate.num_cores:,.3g} core-hours"
        return [*lines, f"{rate.seconds_per_image:.3g} s an image, {rate.known_from}", f"{amount} of computing"]

    def _time(self) -> list[str]:
        base, job, num_images = self.base, self.speeds.job, self.work.num_images
        if base.wall_s is None:
            slowest = next(iter(base.limits), None)
            least = (
                f"at least {time_text(base.least_s)}, by {self._limit(slowest)}; more is not known"
                if slowest
                else "not known"
            )
            return [f"{least}: of the encoders nothing was measured"]
        parts = {
            "listing": self.work.listing_s,
            "start": job.start_s,
            "images": base.least_s,
            counted(self.work.num_audits, "audit"): self.work.num_audits * job.audit_s,
            "planning and sealing": num_images * job.end_s,
        }
        told = ", ".join(f"{name} {time_text(seconds)}" for name, seconds in parts.items() if seconds >= 0.5)
        return [
            f"{time_text(base.wall_s)}: {told}",
            f"{rate_text(num_images / base.least_s)} images a second in between",
        ]

    def _writing(self) -> list[str]:
        base, means, rate = self.base, self.means, self.speeds.rate
        lines, sink = [], self._limit("link")
        if rate is not None and "encoders" in base.limits:
            bytes_s = base.volume.image_bytes / base.limits["encoders"]
            each = f", {size_text(bytes_s / means.num_encoders)} each" if means.num_encoders > 1 else ""
            lines.append(f"the encoders at full speed write {size_text(bytes_s)} a second{each}")
        if means.link_bytes_s:
            lines.append(f"{sink} takes {size_text(means.link_bytes_s)} a second")
        else:
            lines.append(f"what {sink} takes is not known: give plan.link_gbit_s=, or plan.measure_images=16")
        if rate is not None and means.device == "cuda" and not means.num_cores:
            needed = cpus_needed(base.volume, rate=rate, job=self.speeds.job, num_encoders=means.num_encoders)
            lines.append(f"{counted(needed, 'core')} are needed to decode and write as fast as that")
        return lines

    def _memory(self) -> list[str]:
        unit_bytes = self.pixel_bytes * self.base.volume.images_per_unit
        pixels = f"{size_text(_UNITS_AHEAD * unit_bytes)} of pixels wait for an encoder ({_UNITS_AHEAD} units)"
        peak_gb = self.speeds.job.peak_gb
        if self.means.device == "cuda" or peak_gb is None:
            return [f"{pixels}; more was not measured for these encoders"]
        return [f"{peak_gb:.1f} GB a machine with one encoder, measured with sam2.1_hiera_tiny on 2 cores", pixels]

    def _dollars(self) -> list[str]:
        base = self.base
        compute = "not known" if base.compute_dollars is None else dollar_text(base.compute_dollars)
        lines = [f"once: machines {compute}"]
        if base.num_puts or base.num_gets:
            requests = f"{base.num_puts:,} that write or list, {base.num_gets:,} that read"
            lines[0] += f", requests {dollar_text(base.request_dollars)} ({requests})"
        if self.room is not None:
            return [*lines, "a month: what the disk costs"]
        return [*lines, f"a month: {dollar_text(base.month_dollars)}, for {size_text(base.volume.total_bytes)}"]

    def _slowest(self) -> list[str]:
        limits = self.base.limits.items()
        rows = [(self._limit(name), f"{rate_text(1 / seconds)} images a second") for name, seconds in limits]
        if self.speeds.rate is None:
            rows.insert(0, ("the encoders", "not measured"))
        return table_lines(rows, "<<")

    def _limit(self, name: str | None) -> str:
        """What people call it."""
        return {
            "encoders": "the encoders" if self.means.device == "cuda" else "the encoders, with decoding beside them",
            "CPUs": "the CPUs that decode and write",
            "link": "the link to the store" if self.room is None else "the disk",
            "requests": "requests that the store takes",
        }.get(name or "", "")

    def _to_change(self) -> list[str]:
        base = self.base
        others = {change: each for change, each in self.forecasts.items() if change}
        best = max(others, key=lambda change: _gain(base, others[change]))
        rows = [("", "an image", "on disk", "time", "$ once", "$ a month"), _row("as it is", base)]
        rows += [_row(change, other) for change, other in others.items()]
        return [f"most is gained by {best}: {_said(base, others[best])}", *table_lines(rows, "<>>>>>")]

    def _assumptions(self) -> list[str]:
        work, means, rate, job, prices = self.work, self.means, self.speeds.rate, self.speeds.job, self.prices
        lines = ["every image can be decoded; all encoders begin and end together"]
        if rate is not None and means.device == "cpu" and means.num_cores not in (None, rate.num_cores):
            lines.append(f"{means.num_cores} cores are to {rate.num_cores} as their numbers are")
        if rate is not None and rate.is_elsewhere:
            measures = "; plan.measure_images=16 measures them instead" if means.are_here else ""
            lines.append(f"these cores are of the kind that was measured{measures}")
        core_s = job.beside_core_s if means.device == "cpu" else job.decode_core_s
        beside = f"{core_s:.2g} s of a core, and {job.write_core_s_per_gb:.2g} s a GB written"
        lines.append(f"beside the encoder an image takes {beside}")
        if means.device == "cuda" or means.num_cores is None:
            lines[-1] += ", as with photographs of 1.9 megapixels on Zen 5"
        lines.append(f"starting takes {job.start_s:.0f} s, and an audit {job.audit_s:.1f} s of a run")
        if means.device == "cuda":
            lines.append("dollars once are those of the GPUs' own machines; CPU nodes and a head come on top")
        machine = f"${prices.gpu_hour:g} a GPU" if means.device == "cuda" else f"${prices.cpu_hour:g} a core"
        lines.append(f"prices, which you must check (prices.*): {machine} and hour")
        if work.writes_remote or work.reads_remote:
            lines[-1] += (
                f", ${prices.storage_gb_month:g} a GB and month, "
                f"${prices.put_1000:g} and ${prices.get_1000:g} per 1,000 requests that write and read"
            )
        return lines


def _gain(base: Forecast, other: Forecast) -> float:
    """How much a change helps: by the time if that gets notably shorter, else by the bytes, 0 to 1."""
    saved = 1 - other.wall_s / base.wall_s if base.wall_s and other.wall_s else 0.0
    return 1 + saved if saved > _LITTLE else 1 - other.volume.total_bytes / base.volume.total_bytes


def _row(change: str, other: Forecast) -> tuple[str, ...]:
    once = None if other.compute_dollars is None else other.compute_dollars + other.request_dollars
    return (
        change,
        size_text(other.volume.image_bytes),
        size_text(other.volume.total_bytes),
        "?" if other.wall_s is None else time_text(other.wall_s),
        "?" if once is None else dollar_text(once),
        dollar_text(other.month_dollars) if other.month_dollars else "-",
    )


def _said(base: Forecast, other: Forecast) -> str:
    """What changes, and how."""
    pairs = [(size_text(each.volume.total_bytes), each.month_dollars, each.wall_s) for each in (base, other)]
    (size, month, wall_s), (new_size, new_month, new_wall_s) = pairs
    said = []
    if wall_s and new_wall_s and time_text(wall_s) != time_text(new_wall_s):
        said.append(f"{time_text(wall_s)} -> {time_text(new_wall_s)}")
    if size != new_size:
        said.append(f"{size} -> {new_size}")
    if month != new_month:
        said.append(f"{dollar_text(month)} -> {dollar_text(new_month)} a month")
    return ", ".join(said) or "by less than shows"
