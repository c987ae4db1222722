"""What a run did, in a few lines at its end."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.observability.advice import account_line, advice
from pipeline.observability.amounts import counted, size_text
from pipeline.redaction import shown


@dataclass(frozen=True)
class RunSummary:
    """Counts, bytes and seconds of one command; `run` is None when there was nothing to do.

    Attributes:
        seconds: by step, added up over workers.
        account: seconds by cause of all encoders together, which are their whole wall time.
        report: where the page is that shows what came of it.
    """

    uri: str
    model: str
    checkpoint: str
    run: int | None
    wall_s: float
    num_planned: int = 0
    num_embedded: int = 0
    num_quarantined: int = 0
    num_removed: int = 0
    num_shards: int = 0
    size_bytes: int = 0
    num_encoders: int = 0
    num_ignored: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
    quarantined: Mapping[str, int] = field(default_factory=dict)
    audit: str = ""
    account: Mapping[str, float] = field(default_factory=dict)
    report: str = ""

    def text(self) -> str:
        """The lines to print."""
        if self.run is None:
            return (
                f"nothing to do: every image of the source is already in {shown(self.uri)}"
                f"{f', {self.num_quarantined} of them as quarantine' if self.num_quarantined else ''}\n"
                f"(checked in {self.wall_s:.1f} s; no image was read)"
            )
        images = f"{self.num_planned} planned = {self.num_embedded} embedded + {self.num_quarantined} quarantined"
        lines = {
            "images": f"{images}{self._reasons()}{self._ignored()}{self._removed()}",
            "model": shown(f"{self.model}, weights {self.checkpoint}"),
            "on disk": f"{size_text(self.size_bytes)} in {counted(self.num_shards, 'shard')}{self._each()}",
            "audit": self.audit,
            "seconds": self._steps(),
            **self._account(),
            **({"report": shown(self.report)} if self.report else {}),
            "in Python": f"import pipeline; features = pipeline.open_features({self.uri!r})",
        }
        head = f"sealed run {self.run} of {shown(self.uri)} in {self.wall_s:.1f} s"
        return "\n".join([head, *(f"  {name:<10} {text}" for name, text in lines.items())])

    def _account(self) -> dict[str, str]:
        """Where the encoders' time went, if any were at work."""
        if not self.account:
            return {}
        return {"encoders": account_line(self.account, self.num_encoders), "to change": advice(self.account)}

    def _reasons(self) -> str:
        if not self.quarantined:
            return ""
        return " (" + ", ".join(f"{count} {reason}" for reason, count in self.quarantined.items()) + ")"

    def _ignored(self) -> str:
        return f"; {counted(self.num_ignored, 'file')} passed over by name" if self.num_ignored else ""

    def _removed(self) -> str:
        return (
            f"; {counted(self.num_removed, 'image')} of earlier runs gone from the source" if self.num_removed else ""
        )

    def _each(self) -> str:
        return f", {size_text(self.size_bytes / self.num_embedded)} an image" if self.num_embedded else ""

    def _steps(self) -> str:
        parts = [f"{name} {value:.1f}" for name, value in self.seconds.items()]
        return ", ".join(parts) + f" (added up over workers; {counted(self.num_encoders, 'encoder')})"
