"""A real Prometheus scrapes a real Ray while a job runs: it finds what the run did, and answers every query."""

import json
import re
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

import pipeline
from pipeline.observability.events import UnitEvent
from pipeline.observability.metrics import METRICS
from tests.conftest import Finished, Job, free_ports
from tests.promql import MONITORING, dashboard_queries, rule_queries

pytestmark = pytest.mark.cluster

PROMETHEUS = Path(__file__).resolve().parents[2] / ".venv-prometheus/usr/bin/prometheus"
# What a run of good and bad images on a machine without GPUs has nothing to say about.
EMPTY = {"Tried again", "GPU"}


@dataclass(frozen=True)
class Prometheus:
    """Prometheus, at an address, asked through its API."""

    address: str

    def ask(self, path: str, **parameters: Any) -> dict[str, Any]:
        """The data of an answer."""
        address = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            pytest.fail(f"{parameters}: {error.read().decode()}")

    def values(self, query: str, by: str = "") -> dict[str, float]:
        """The values of the series that a query gives now, by one of their labels."""
        found = self.ask("query", query=query)["result"]
        return {series["metric"].get(by, ""): float(series["value"][1]) for series in found}


@dataclass(frozen=True)
class Watched:
    """A run that Prometheus watched, and when it was."""

    prometheus: Prometheus
    done: Finished
    folder: Path
    sink: Path
    began: float

    def total(self, name: str, by: str = "") -> dict[str, float]:
        """The values of a metric of ours in the end."""
        label = json.dumps(str(self.sink).encode("ascii", "backslashreplace").decode())  # Ray takes no other letters
        return self.prometheus.values(f"sum by ({by}) (ray_sam2_embed_{name}{{feature_set={label}}})", by)


@pytest.fixture(scope="module")
def prometheus(
    ray_head: dict[str, str],  # noqa: ARG001  it is to be up first
    ray_folder: Path,
    tmp_path_factory: Any,
) -> Iterator[Prometheus]:
    """Prometheus with the configuration as it stands, but for where Ray is and how often it is asked."""
    folder, address = tmp_path_factory.mktemp("prometheus"), f"127.0.0.1:{free_ports(1)[0]}"
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(MONITORING / "alerts.yml")]
    (discovery,) = config["scrape_configs"][0]["file_sd_configs"]
    assert discovery["files"] == ["/tmp/ray/prom_metrics_service_discovery.json"]  # noqa: S108  as Ray has it
    discovery["files"] = [str(ray_folder / "prom_metrics_service_discovery.json")]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    place = (f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data")
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([PROMETHEUS, *place, f"--web.listen-address={address}"], stderr=log)
    try:
        yield Prometheus(address)
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def watched(
    prometheus: Prometheus, ray_head: dict[str, str], photographs: dict[str, Path], tmp_path_factory: Any
) -> Watched:
    """A run of nine photographs and two files that are none, after Prometheus has seen its last unit."""
    place = tmp_path_factory.mktemp("watched-\u00e9")
    folder, sink = place / "photos", place / "features"
    folder.mkdir()
    for name, photo in photographs.items():
        (folder / name).symlink_to(photo)
    (folder / "empty.jpg").touch()
    (folder / "text.png").write_text("<!doctype html>")
    began = time.time()
    given = ("model=hiera_debug", "model.checkpoint=random", "execution.images_per_unit=2")
    done = Job((f"source.uri={folder}", f"sink.uri={sink}", *given), ray_head).finish()
    assert done.code == 0, done
    watched = Watched(prometheus, done, folder, sink, began)
    until = time.monotonic() + 20
    while not _is_seen(watched) and time.monotonic() < until:
        time.sleep(0.5)
    return watched


def _is_seen(watched: Watched) -> bool:
    """Whether the run's last words were scraped, and again: one look at a counter gives no rate."""
    ended = watched.total("encoder_seconds_total", "cause").get("end")
    looks = watched.prometheus.values("min(count_over_time(ray_sam2_embed_encoder_seconds_total[5m]))", "")
    return bool(ended) and min(looks.values(), default=0) >= 2


def test_what_prometheus_counts_is_what_the_run_did(watched: Watched):
    features = pipeline.open_features(watched.sink)
    assert watched.total("images_total", "outcome") == {"embedded": 9, "quarantined": 2}
    assert watched.total("quarantined_total", "error_type") == {"EmptyFile": 1, "FormatNotAllowed": 1}
    assert watched.total("quarantined_total", "stage") == {"decode": 2}
    assert watched.total("units_committed_total") == {"": 6}
    assert watched.total("unit_seconds_count") == {"": 6}
    written_bytes = sum(file.stat().st_size for file in (watched.sink / "shards").rglob("*.parquet"))
    assert watched.total("written_bytes_total") == {"": written_bytes}
    assert watched.total("fetched_bytes_total") == {"": sum(file.stat().st_size for file in watched.folder.iterdir())}
    assert len(features) == 9


def test_the_encoders_seconds_by_cause_add_up_to_their_wall_time(watched: Watched):
    (whole_s,) = re.findall(r"^  encoders .* of ([\d.]+) s, 1 encoder$", watched.done.out, re.MULTILINE)
    found = watched.total("encoder_seconds_total", "cause")
    assert sum(found.values()) == pytest.approx(float(whole_s), rel=0.02)
    assert found["compute"] > 0


def test_every_metric_arrives_with_its_labels_and_no_other_of_ours(watched: Watched):
    names = watched.prometheus.ask("label/__name__/values")
    found = {name for name in names if name.startswith("ray_sam2")}
    known = {name: labels for metric in METRICS for name, labels in metric.series.items()}
    assert found - known.keys() == {"ray_sam2_embed_unit_seconds_sum"}
    assert known.keys() - found == {"ray_sam2_embed_retries_total"}
    since = {"start": watched.began, "end": time.time()}
    for name in found & known.keys():
        for series in watched.prometheus.ask("series", **{"match[]": name}, **since):
            assert known[name] <= series.keys(), series


def test_every_query_of_the_dashboard_is_answered(watched: Watched):
    span = {"start": watched.began, "end": time.time(), "step": 1}
    empty = set()
    for query in dashboard_queries():
        answer = watched.prometheus.ask("query_range", query=query.text, **span)["result"]
        empty |= set() if answer else {query.place}
        for series in answer:
            assert query.legend <= series["metric"].keys(), query
    assert empty - {"Time left"} == EMPTY, "a run of seconds may end before its speed is known"
    for query in rule_queries():
        assert watched.prometheus.ask("query", query=query.text)["resultType"] == "vector"


def test_a_line_of_json_for_every_unit_and_they_add_up_to_the_run(watched: Watched):
    lines = [UnitEvent(**json.loads(line)) for line in watched.done.err.splitlines() if line.startswith("{")]
    assert sorted(event.unit for event in lines) == list(range(6))
    assert sum(event.images for event in lines) == 11
    assert sum(event.embedded for event in lines) == 9
    assert sum(sum(event.quarantined.values()) for event in lines) == 2
    assert all(event.is_own for event in lines)
    assert {(event.feature_set, event.run) for event in lines} == {(str(watched.sink), 1)}
    assert f"{sum(event.written_bytes for event in lines) / 1e6:.1f} MB in 5 shards" in watched.done.out
    for event in lines:
        assert event.shard is None or (watched.sink / event.shard).stat().st_size == event.written_bytes


def test_targets_are_all_up(watched: Watched, ray_folder: Path):
    (found,) = json.loads((ray_folder / "prom_metrics_service_discovery.json").read_text())
    up = watched.prometheus.values("up", "instance")
    assert {instance for instance, value in up.items() if value == 1} >= set(found["targets"][:1]), up
