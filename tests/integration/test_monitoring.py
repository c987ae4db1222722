"""infra/monitoring: every query asks for what is exported, and Prometheus' own tool takes rules and configuration."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from pipeline.observability.accounting import ACTIVITIES, PAUSES
from pipeline.observability.metrics import METRICS, PREFIX
from tests.promql import MONITORING, Query, asked, dashboard, dashboard_queries, rule_queries, rules

REPOSITORY = Path(__file__).resolve().parents[2]
PROMTOOL = REPOSITORY / ".venv-prometheus/usr/bin/promtool"
EXPORTED = {name: labels for metric in METRICS for name, labels in metric.series.items()}
# Labels that queries may match, and what they can be there.
VALUES = {
    "outcome": {"embedded", "quarantined"},
    "cause": {*ACTIVITIES, *PAUSES},
    "what": {"storage", "unit", "decoder"},
}
RUNBOOK = (REPOSITORY / "docs/runbook.md").read_text()


def ours(query: Query) -> dict[str, set[str]]:
    return {name: labels for name, labels in asked(query.text).items() if name.startswith(f"{PREFIX}sam2")}


@pytest.mark.parametrize("query", [*dashboard_queries(), *rule_queries()], ids=str)
def test_every_query_asks_for_what_is_exported_with_its_labels(query: Query):
    assert asked(query.text)
    for name, labels in ours(query).items():
        assert labels <= EXPORTED[name], name
    for label, values in re.findall(r'(\w+)=~?"([^"$]+)"', query.text):
        if label in VALUES:
            assert set(values.split("|")) <= VALUES[label]


def test_every_metric_is_on_the_dashboard():
    shown = {name for query in dashboard_queries() for name in ours(query)}
    assert {metric.name for metric in METRICS if not shown & set(metric.series)} == set()


def test_a_query_for_what_is_not_exported_would_be_found():
    assert asked("rate(ray_sam2_embed_image_total[5m])").keys() - EXPORTED.keys()
    assert asked('sum by (image_id) (a{b="c"}) / on (d) e') == {"a": {"b", "d", "image_id"}, "e": {"d"}}


def test_panels_have_numbers_of_their_own_and_do_not_overlap():
    panels, taken = dashboard()["panels"], set()
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24, panel["title"]
        assert not taken & cells, panel["title"]
        taken |= cells


def test_every_alert_says_what_to_do():
    pages = [rule["annotations"]["runbook_url"].split("#") for rule in rules()]
    assert {page for page, _ in pages} == {"docs/runbook.md"}
    assert {anchor for _, anchor in pages} <= set(re.findall(r"^## ([\w-]+)$", RUNBOOK, re.MULTILINE))


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", "alerts.yml"),
        ("check", "config", "--syntax-only", "prometheus.yml"),
        ("test", "rules", "alerts_test.yml"),
    ],
    ids=" ".join,
)
def test_prometheus_takes_it(arguments: tuple[str, ...]):
    done = subprocess.run([PROMTOOL, *arguments], cwd=MONITORING, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_raised_in_a_test():
    tests = yaml.safe_load((MONITORING / "alerts_test.yml").read_text())["tests"]
    raised = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case["exp_alerts"]}
    assert raised == {rule["alert"] for rule in rules()}


def test_pods_of_kuberay_are_asked_at_the_port_it_names():
    spec = yaml.safe_load((MONITORING / "podmonitor.yml").read_text())["spec"]
    assert [endpoint["port"] for endpoint in spec["podMetricsEndpoints"]] == ["metrics"]
    assert spec["selector"]["matchExpressions"][0]["key"] == "ray.io/node-type"
