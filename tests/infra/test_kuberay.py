"""infra/kuberay: manifests are what Kubernetes and KubeRay take, run commands that exist, and open nothing needless."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.infra import kuberay_fields as fields

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "infra/kuberay"
KUBERNETES = ["1.31", kubernetes_validate.latest_version()]
# What the same command does not mend: all codes of the README's list but those that say "the same command again".
FINAL = [3, 64, 65, 73, 77, 78]

sys.path.insert(0, str(REPOSITORY / "jobs"))

from embed import with_model  # noqa: E402
from job import compose_values  # noqa: E402

from pipeline.config import job_config  # noqa: E402


def nightly() -> dict[str, Any]:
    command = ["bash", FOLDER / "nightly.sh", "0 2 * * *", "Etc/UTC"]
    return yaml.safe_load(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def manifest(name: str) -> dict[str, Any]:
    return yaml.safe_load((FOLDER / name).read_text())


RAY_JOB, CRON_JOB = manifest("rayjob.yaml"), manifest("cronjob.yaml")
ACCESS = list(yaml.safe_load_all((FOLDER / "access.yaml").read_text()))
CLUSTER = RAY_JOB["spec"]["rayClusterSpec"]
PODS = {
    "submitter": RAY_JOB["spec"]["submitterPodTemplate"],
    "head": CLUSTER["headGroupSpec"]["template"],
    **{group["groupName"]: group["template"] for group in CLUSTER["workerGroupSpecs"]},
    "single": CRON_JOB["spec"]["jobTemplate"]["spec"]["template"],
}


def unlike(value: Any, kind: Any, place: str) -> Iterator[str]:
    """What in a value of one of KubeRay's kinds is not as its reference, or of Kubernetes' as its schemas, has it."""
    if isinstance(kind, dict):
        yield from (f"{place}.{name}: no such field" for name in value.keys() - kind.keys())
        for name in value.keys() & kind.keys():
            yield from unlike(value[name], kind[name], f"{place}.{name}")
    elif isinstance(kind, list):
        for number, each in enumerate(value):
            yield from unlike(each, kind[0], f"{place}[{number}]")
    elif isinstance(kind, tuple):
        yield from () if value in kind else [f"{place}: {value!r} is none of {kind}"]
    elif kind == fields.STRINGS:
        yield from (f"{place}.{name}: {each!r} is no text" for name, each in value.items() if not isinstance(each, str))
    elif kind == fields.POD:
        yield from kubernetes_refuses({"apiVersion": "v1", "kind": "PodTemplate", "template": value}, place)
    elif kind in (fields.RESOURCES, fields.SECURITY):
        name = "resources" if kind == fields.RESOURCES else "securityContext"
        container = {"name": "c", "image": "i", name: value}
        yield from kubernetes_refuses({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [container]}}, place)
    elif not isinstance(value, getattr(kind, "__origin__", kind)):
        yield f"{place}: {value!r} is no {kind}"


def kubernetes_refuses(document: dict[str, Any], place: str) -> Iterator[str]:
    for version in KUBERNETES:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{place} ({version}): {error.message}"


@pytest.mark.parametrize("document", [*ACCESS, CRON_JOB], ids=lambda each: f"{each['kind']}-{each['metadata']['name']}")
def test_kubernetes_takes_its_own_kinds(document):
    assert list(kubernetes_refuses(document, document["kind"])) == []


def test_kuberay_takes_the_job_and_its_schedule_as_far_as_its_reference_says():
    assert list(unlike(RAY_JOB["spec"], fields.RAY_JOB, "spec")) == []
    scheduled = nightly()
    assert list(unlike(scheduled["spec"], fields.RAY_CRON_JOB, "spec")) == []
    assert scheduled["spec"]["jobTemplate"] == RAY_JOB["spec"], "what runs at night is what runs by hand"
    assert (scheduled["apiVersion"], RAY_JOB["apiVersion"]) == ("ray.io/v1", "ray.io/v1")


def test_a_wrong_field_anywhere_is_found():
    for path, wrong in (
        (["rayClusterSpec", "workerGroupSpecs", 0, "maxReplica"], 1),
        (["rayClusterSpec", "headGroupSpec", "rayStartParams", "num-cpus"], 0),
        (["rayClusterSpec", "authOptions", "mode"], "none"),
        (["rayClusterSpec", "headGroupSpec", "template", "spec", "containers", 0, "imag"], "x"),
        (["rayClusterSpec", "autoscalerOptions", "securityContext"], {"runAsRoot": True}),
        (["backoffLimit"], "2"),
    ):
        spec = yaml.safe_load(yaml.safe_dump(RAY_JOB["spec"]))
        inner = spec
        for step in path[:-1]:
            inner = inner[step]
        inner[path[-1]] = wrong
        assert list(unlike(spec, fields.RAY_JOB, "spec")), path


def embed_overrides(words: list[str]) -> list[str]:
    """The overrides of a command that ends up in the embed job; its files are there in the image."""
    assert words[:2] in (["bash", "/app/infra/cron/embed.sh"], ["python", "jobs/embed.py"]), words
    assert (REPOSITORY / words[1].removeprefix("/app/")).is_file()
    return words[2:]


@pytest.mark.parametrize(
    "words",
    [shlex.split(RAY_JOB["spec"]["entrypoint"]), PODS["single"]["spec"]["containers"][0]["args"]],
    ids=["rayjob", "cronjob"],
)
def test_the_commands_are_jobs_that_the_configuration_takes(words):
    overrides = embed_overrides(words)
    config = job_config(with_model(compose_values("embed", overrides), overrides))
    assert config.sink.uri.startswith("s3://")


@pytest.mark.parametrize("name", PODS)
def test_no_pod_is_root_or_writes_beside_its_volumes_or_runs_unbounded(name):
    pod = PODS[name]["spec"]
    security = pod["securityContext"]
    assert (security["runAsNonRoot"], security["runAsUser"]) == (True, 10001)
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["serviceAccountName"] == ("sam2-embed-head" if name == "head" else "sam2-embed")
    assert name == "head" or pod["automountServiceAccountToken"] is False
    assert PODS[name]["metadata"]["labels"]["app"] == "sam2-embed", "the network policy goes by it"
    volumes = {each["name"]: each["emptyDir"] for each in pod["volumes"]}
    for container in [*pod["containers"], {**CLUSTER["autoscalerOptions"], "name": "autoscaler"}]:
        own = container["securityContext"]
        assert own == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["requests"].keys() >= {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]
        mounts = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
        assert volumes.keys() >= set(mounts.values())
        assert "/tmp" in mounts  # noqa: S108
        if "/dev/shm" in mounts:  # noqa: S108
            assert volumes[mounts["/dev/shm"]]["medium"] == "Memory"  # noqa: S108


def gib(quantity: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(Gi|Mi)", quantity).groups()
    return int(number) / (1 if unit == "Gi" else 1024)


def test_object_stores_fit_their_shared_memory_and_that_their_pods():
    for group in [CLUSTER["headGroupSpec"], *CLUSTER["workerGroupSpecs"]]:
        pod = group["template"]["spec"]
        shm = next(gib(each["emptyDir"]["sizeLimit"]) for each in pod["volumes"] if each["name"] == "shm")
        assert int(group["rayStartParams"]["object-store-memory"]) / 2**30 < shm
        assert shm < gib(pod["containers"][0]["resources"]["limits"]["memory"])


def test_every_cluster_asks_for_a_token_and_the_encoders_are_there_when_they_are_counted():
    assert CLUSTER["authOptions"]["mode"] == "token"
    assert CLUSTER["enableInTreeAutoscaling"] is True
    assert CLUSTER["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    groups = {group["groupName"]: group for group in CLUSTER["workerGroupSpecs"]}
    for group in groups.values():
        assert 1 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    assert groups["gpu"]["minReplicas"] == groups["gpu"]["maxReplicas"]
    assert "nvidia.com/gpu" in groups["gpu"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    pins = (REPOSITORY / "constraints.txt").read_text()
    assert f"\nray=={CLUSTER['rayVersion']}\n" in pins


def test_nobody_but_these_pods_reaches_rays_ports_and_they_reach_the_store_and_names():
    (policy,) = [each["spec"] for each in ACCESS if each["kind"] == "NetworkPolicy"]
    assert policy["podSelector"]["matchLabels"] == {"app": "sam2-embed"}
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    unbounded = [rule for rule in policy["ingress"] if "ports" not in rule]
    assert unbounded == [{"from": [{"podSelector": {"matchLabels": {"app": "sam2-embed"}}}]}]
    others = {port["port"] for rule in policy["ingress"] for port in rule.get("ports", [])}
    assert others == {8265, 8080}, "the dashboard to the operator, metrics to Prometheus; never 6379 or 10001"
    assert all(rule["from"] for rule in policy["ingress"])
    beyond = {port["port"] for rule in policy["egress"] for port in rule.get("ports", [])}
    assert beyond == {53, 443, 6443}


def test_kubernetes_tries_again_exactly_what_the_same_command_mends():
    job = CRON_JOB["spec"]["jobTemplate"]["spec"]
    (codes,) = [rule["onExitCodes"] for rule in job["podFailurePolicy"]["rules"] if "onExitCodes" in rule]
    assert codes["values"] == FINAL
    assert codes["containerName"] == PODS["single"]["spec"]["containers"][0]["name"]
    listed = re.search(r"Exit codes: (.+?)\n\n", (REPOSITORY / "README.md").read_text(), re.DOTALL)[1]
    known = {int(code) for code in re.findall(r"(?:^|; )(\d+) ", listed.replace("\n", " "))}
    assert known == {0, *FINAL, 75, 143}
    assert (CRON_JOB["spec"]["concurrencyPolicy"], PODS["single"]["spec"]["restartPolicy"]) == ("Forbid", "Never")
    drain_s = re.search(r"_DRAIN_S = ([\d.]+)", (REPOSITORY / "pipeline/execution/run.py").read_text())[1]
    for name, pod in PODS.items():
        assert name == "submitter" or pod["spec"]["terminationGracePeriodSeconds"] > float(drain_s)
