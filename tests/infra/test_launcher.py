"""infra/ray: cluster files are what Ray's launcher and the clouds' interfaces take, and open nothing to the world."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.session
import googleapiclient
import pytest
import yaml
from botocore.validate import ParamValidator
from ray.autoscaler._private.util import prepare_config, validate_config

FOLDER = Path(__file__).resolve().parents[2] / "infra/ray"
FILES = ["aws.yaml", "gcp.yaml"]
# GCP's own description of its interfaces, as its client ships it.
COMPUTE = Path(googleapiclient.__file__).parent / "discovery_cache/documents/compute.v1.json"


def cluster(name: str) -> dict[str, Any]:
    return yaml.safe_load((FOLDER / name).read_text())


@pytest.mark.parametrize("name", FILES)
def test_rays_launcher_takes_it(name):
    prepared = prepare_config(cluster(name))
    prepared["cluster_synced_files"] = prepared.get("cluster_synced_files", [])
    validate_config(prepared)
    assert prepared["available_node_types"].keys() == {"head", "cpu", "gpu"}
    broken = prepare_config({**cluster(name), "max_worker": 3})
    with pytest.raises(Exception, match="max_worker"):
        validate_config(broken)


def ec2_refuses(node: dict[str, Any]) -> str:
    """What EC2's model, as its client ships it, has against a node; counts and one of the subnets are put in by Ray."""
    given = {key: value for key, value in node.items() if key != "SubnetIds"}
    shape = botocore.session.get_session().get_service_model("ec2").operation_model("RunInstances").input_shape
    return ParamValidator().validate({**given, "MinCount": 1, "MaxCount": 1}, shape).generate_report()


def compute_refuses(value: Any, kind: dict[str, Any], schemas: dict[str, Any], place: str = "") -> Iterator[str]:
    """What Compute Engine's model has against a part of a node."""
    kind = schemas[kind["$ref"]] if "$ref" in kind else kind
    if isinstance(value, dict):
        for name, each in value.items():
            if name not in kind.get("properties", {}):
                yield f"{place}.{name}: no such field"
            else:
                yield from compute_refuses(each, kind["properties"][name], schemas, f"{place}.{name}")
    elif isinstance(value, list):
        for each in value:
            yield from compute_refuses(each, kind.get("items", {}), schemas, place)
    elif "enum" in kind and value not in kind["enum"]:
        yield f"{place}: {value} is none of {kind['enum']}"


def test_ec2_takes_every_node_and_none_has_an_address_or_group_of_the_launchers():
    nodes = {name: kind["node_config"] for name, kind in cluster("aws.yaml")["available_node_types"].items()}
    assert {name: ec2_refuses(node) for name, node in nodes.items()} == dict.fromkeys(nodes, "")
    assert "Unknown parameter" in ec2_refuses({"InstanceKind": "m7i.xlarge"})
    for node in nodes.values():
        assert node["SecurityGroupIds"], "without one the launcher makes one that opens port 22 to all"
        assert node["SubnetIds"]
        assert node["MetadataOptions"]["HttpTokens"] == "required"
        assert node["BlockDeviceMappings"][0]["Ebs"]["Encrypted"]
    assert nodes["head"]["IamInstanceProfile"] != nodes["cpu"]["IamInstanceProfile"]
    assert [name for name, node in nodes.items() if "InstanceMarketOptions" in node] == ["cpu", "gpu"]


def test_compute_engine_takes_every_node_and_none_has_an_address():
    schemas = json.loads(COMPUTE.read_text())["schemas"]
    nodes = {name: kind["node_config"] for name, kind in cluster("gcp.yaml")["available_node_types"].items()}
    found = {name: list(compute_refuses(node, schemas["Instance"], schemas)) for name, node in nodes.items()}
    assert found == {name: [] for name in nodes}
    assert list(compute_refuses({"scheduling": {"provisioningModel": "CHEAP"}}, schemas["Instance"], schemas))
    for node in nodes.values():
        assert all("accessConfigs" not in interface for interface in node["networkInterfaces"])
    assert [name for name, node in nodes.items() if "scheduling" in node] == ["cpu", "gpu"]


@pytest.mark.parametrize("name", FILES)
def test_every_call_needs_a_token_that_is_in_no_file_here_and_metrics_are_exported(name):
    config = cluster(name)
    assert "--env RAY_AUTH_MODE=token" in config["docker"]["run_options"]
    assert config["file_mounts"] == {"~/.ray/auth_token": "~/.ray/auth_token"}
    assert config["provider"]["use_internal_ips"] is True
    (head,) = [each for each in config["head_start_ray_commands"] if "--head" in each]
    (worker,) = [each for each in config["worker_start_ray_commands"] if "--address" in each]
    assert "--dashboard-host=127.0.0.1" in head
    assert "--num-cpus=0" in head
    assert all("--metrics-export-port=8080" in each for each in (head, worker))
    types = config["available_node_types"]
    assert types["gpu"]["min_workers"] == 0, "no GPU is paid for while there is no job"
    assert types["gpu"]["max_workers"] >= 1
    assert sum(each.get("max_workers", 0) for each in types.values()) <= config["max_workers"]
