"""What queries ask for: the metrics they name, and the labels they expect of each."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser
import yaml

MONITORING = Path(__file__).resolve().parents[1] / "infra/monitoring"


@dataclass(frozen=True)
class Query:
    """One query of a dashboard or of a rule; `legend` are the labels that are shown of its answer."""

    place: str
    text: str
    legend: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return self.place


def dashboard() -> dict[str, Any]:
    """The dashboard."""
    return json.loads((MONITORING / "dashboard.json").read_text())


def rules() -> list[dict[str, Any]]:
    """The alerts."""
    return yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"][0]["rules"]


def dashboard_queries() -> list[Query]:
    """All that the dashboard asks, with what Grafana puts in for its variables when all is shown."""
    targets = [(panel["title"], target) for panel in dashboard()["panels"] for target in panel.get("targets", [])]
    return [
        Query(title, with_variables(target["expr"]), frozenset(re.findall(r"{{(\w+)}}", target["legendFormat"])))
        for title, target in targets
    ]


def with_variables(text: str) -> str:
    """The query as Grafana would send it."""
    return text.replace("$__rate_interval", "1m").replace("$feature_set", ".*").replace("$run", ".*")


def rule_queries() -> list[Query]:
    """All that alerts ask."""
    return [Query(rule["alert"], rule["expr"]) for rule in rules()]


def asked(text: str) -> dict[str, set[str]]:
    """Labels by metric: what is matched, grouped and joined by."""
    found: dict[str, set[str]] = defaultdict(set)
    for name, labels in _selectors(promql_parser.parse(text), frozenset()):
        found[name] |= labels
    return dict(found)


def _selectors(node: Any, outer: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    if isinstance(node, promql_parser.VectorSelector):
        yield node.name, outer | {matcher.name for matcher in node.matchers.matchers}
    modifier = getattr(node, "modifier", None)
    grouping = getattr(modifier, "matching", modifier)  # of a binary operation, or of an aggregation
    if str(getattr(grouping, "type", "")).endswith((".By", ".On", ".Include")):
        outer |= set(grouping.labels)
    children = [getattr(node, name, None) for name in ("expr", "lhs", "rhs", "vector_selector")]
    for child in [*children, *(getattr(node, "args", None) or [])]:
        if child is not None:
            yield from _selectors(child, outer)
