"""What a verification found, as rows that say which file, what is wrong with it, and what to do about it."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Literal

from pipeline.config import Level
from pipeline.redaction import shown

Kind = Literal[
    "record",  # featureset.json, run.json or manifest.json
    "table",  # plan, removed, index, shards, quarantine, position encodings
    "fingerprint",
    "count",
    "ids",
    "shard-list",
    "commit",
    "open-commit",
    "shard-missing",
    "shard-size",
    "shard-footer",
    "shard-bytes",
    "shard-rows",
    "shard-numbers",
    "given-up",
]

_RESTORE = "restore it from a backup, or embed to another sink.uri"
_REPAIR = "jobs/repair.py with the overrides of the embed command embeds its images again"
_WRONG = "no damaged byte explains this: embed to another sink.uri, and report it"
_REMEDIES: dict[Kind, str] = {
    "record": _RESTORE,
    "table": _RESTORE,
    "fingerprint": _WRONG,
    "count": _WRONG,
    "ids": _WRONG,
    "shard-list": _WRONG,
    "commit": "no reader needs it; restore it from a backup, or leave it",
    "open-commit": "restore it from a backup, or give the run up with jobs/abandon.py and embed again",
    "given-up": "jobs/repair.py with the overrides of the embed command embeds them again",
}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: with which file, of which run and unit."""

    kind: Kind
    file: str
    message: str
    run: int | None = None
    unit: int | None = None

    @property
    def is_of_shard(self) -> bool:
        """Whether a shard is broken, whose images can be embedded again."""
        return self.kind.startswith("shard-") and self.kind != "shard-list"

    @property
    def is_repairable(self) -> bool:
        """Whether embedding images again mends it."""
        return self.is_of_shard or self.kind == "given-up"

    @property
    def blocks_repair(self) -> bool:
        """Whether embedding images again would build on what is broken."""
        return not self.is_repairable and self.kind != "commit"

    def __str__(self) -> str:
        return f"{shown(f'{self.file} {self.message}')}; {_REMEDIES.get(self.kind, _REPAIR)}"


@dataclass(frozen=True)
class RunReport:
    """One run in numbers; `state` is `sealed`, `abandoned` or how far an open one is."""

    run: int
    state: str
    num_planned: int = 0
    num_embedded: int = 0
    num_quarantined: int = 0
    num_shards: int = 0
    size_bytes: int = 0


@dataclass
class Report:
    """Everything a verification has to say.

    Attributes:
        uri: the feature set.
        level: how far it looked.
        runs: the runs, in order.
        findings: what is wrong.
        superseded: what is wrong with shards none of whose images count any more; no reader opens them.
    """

    uri: str
    level: Level
    runs: list[RunReport] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    superseded: list[Finding] = field(default_factory=list)

    @property
    def broken_shards(self) -> dict[int, frozenset[str]]:
        """By run, the shards that are broken; superseded ones are not among them."""
        broken: defaultdict[int, set[str]] = defaultdict(set)
        for finding in self.findings:
            if finding.is_of_shard and finding.run is not None:
                broken[finding.run].add(finding.file)
        return {run: frozenset(names) for run, names in broken.items()}

    def text(self) -> str:
        """A line a run, then a line a finding."""
        counts = Counter(finding.run for finding in self.findings)
        lines = [f"{shown(self.uri)}, level {self.level}", _HEAD, *(_line(run, counts[run.run]) for run in self.runs)]
        lines += [f"  {finding}" for finding in self.findings]
        lines += [
            f"  superseded, no reader opens it: {shown(f'{each.file} {each.message}')}" for each in self.superseded
        ]
        return "\n".join([*lines, f"{len(self.findings)} findings" if self.findings else "nothing is wrong"])


_HEAD = (
    f"{'run':>5}  {'state':<24}{'planned':>10}{'embedded':>10}{'quarantined':>13}{'shards':>9}{'bytes':>17}  findings"
)


def _line(run: RunReport, num_findings: int) -> str:
    images = f"{run.num_planned:>10}{run.num_embedded:>10}{run.num_quarantined:>13}"
    return f"{run.run:>5}  {run.state:<24}{images}{run.num_shards:>9}{run.size_bytes:>17}  {num_findings:>8}"
