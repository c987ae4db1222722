"""A store that asks who one is: moto with IAM switched on, and users under the shipped policies.

moto (5.2) enforces actions and resources of users' policies, takes conditions it does not know as met, and does not
deploy a bucket's policy. So `Conditions` refuses at the proxy what conditions forbid, as AWS documents them.
"""

import json
import re
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import boto3
import yaml

from tests.faults.faults import Answer
from tests.faults.operations import Seen
from tests.faults.proxy import FaultProxy
from tests.faults.store import REGION, S3Server

TEMPLATE = Path(__file__).resolve().parents[2] / "infra/storage/aws.yaml"
ADMIN = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}
ACTIONS = {
    "ListObjectsV2": "s3:ListBucket",
    "ListObjects": "s3:ListBucket",
    "PutObject": "s3:PutObject",
    "CopyObject": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
}
CREATING = {"PutObject", "CopyObject", "CompleteMultipartUpload"}


@dataclass
class Conditions(Answer):
    """Answers 403 where a Deny's condition is met, or where Allows of that action and place have none met."""

    statements: list[dict[str, Any]] = field(default_factory=list, kw_only=True)

    def _matches(self, seen: Seen) -> bool:
        action = ACTIONS.get(seen.operation)
        place = f"arn:aws:s3:::{seen.bucket}" + ("" if action == "s3:ListBucket" else f"/{seen.key}")
        about = [each for each in self.statements if action and concerns(each, action, place)]
        denied = any(holds(each["Condition"], seen) for each in about if each["Effect"] == "Deny")
        allowing = [holds(each["Condition"], seen) for each in about if each["Effect"] == "Allow"]
        return denied or (bool(allowing) and not any(allowing))


def concerns(statement: dict[str, Any], action: str, place: str) -> bool:
    """Whether a statement is about this action on this place."""
    actions, places = (
        [each] if isinstance(each, str) else each for each in (statement["Action"], statement["Resource"])
    )
    return any(fnmatchcase(action, each) for each in actions) and any(fnmatchcase(place, each) for each in places)


def holds(condition: dict[str, dict[str, str]], seen: Seen) -> bool:
    """Whether a request meets a condition, all of whose parts have to hold."""
    facts = {"s3:prefix": seen.key, "s3:ObjectCreationOperation": str(seen.operation in CREATING).lower()}
    if seen.conditional:
        facts["s3:if-none-match"] = seen.headers["if-none-match"]
    tests = {
        "StringLike": lambda key, wanted: fnmatchcase(facts.get(key, ""), wanted),
        "Bool": lambda key, wanted: facts.get(key) == wanted,
        "Null": lambda key, wanted: (key not in facts) == (wanted == "true"),
    }
    return all(tests[kind](key, wanted) for kind, pairs in condition.items() for key, wanted in pairs.items())


@dataclass
class GuardedStore:
    """The store, its proxy, and users by name: the variables of each, which lead through the proxy."""

    server: S3Server
    proxy: FaultProxy
    users: dict[str, dict[str, str]]

    def client(self, user: str) -> Any:
        """A boto3 client with a user's keys, which tries once."""
        keys = self.users[user]
        return boto3.client(
            "s3",
            endpoint_url=keys["AWS_ENDPOINT_URL"],
            region_name=REGION,
            aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
        )


@contextmanager
def guarded_store(source: str, sink: str) -> Iterator[GuardedStore]:
    """A store with these buckets, users `embed`, `clean` and `read` under their policies, and an `admin`."""
    with S3Server() as server, FaultProxy(server.endpoint) as proxy:
        for name in (source, sink):
            server.make_bucket(name)
        parameters = {"SourceBucket": source, "SourcePrefix": "photos/", "SinkBucket": sink, "MakeSinkBucket": "no"}
        policies = deploy(server, "sam2-embed", parameters)
        users = {"admin": user(server, "admin", None)}
        for name in ("Embed", "Clean", "Read"):
            users[name.lower()] = user(server, name.lower(), policies[f"{name}Policy"])
        found = [statement for name in policies.values() for statement in statements(server, name)]
        found += bucket_statements(sink)
        proxy.install(Conditions(status=403, statements=[each for each in found if "Condition" in each]))
        server_post(server, "moto-api/reset-auth", b"0")  # from here on it asks who one is
        yield GuardedStore(server, proxy, {name: {**proxy.environment(), **keys} for name, keys in users.items()})


def deploy(server: S3Server, stack: str, parameters: dict[str, str]) -> dict[str, str]:
    """Deploys the template and gives its outputs."""
    client = aws(server, "cloudformation")
    pairs = [{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()]
    client.create_stack(StackName=stack, TemplateBody=TEMPLATE.read_text(), Parameters=pairs)
    (made,) = client.describe_stacks(StackName=stack)["Stacks"]
    assert made["StackStatus"] == "CREATE_COMPLETE"
    return {each["OutputKey"]: each["OutputValue"] for each in made["Outputs"]}


def user(server: S3Server, name: str, policy: str | None) -> dict[str, str]:
    """A user under a policy, or under none that forbids anything; the variables of its key."""
    iam = aws(server, "iam")
    iam.create_user(UserName=name)
    if policy is None:
        iam.put_user_policy(UserName=name, PolicyName="all", PolicyDocument=json.dumps(ADMIN))
    else:
        iam.attach_user_policy(UserName=name, PolicyArn=policy)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}


def statements(server: S3Server, policy: str) -> list[dict[str, Any]]:
    """What a deployed policy says."""
    version = aws(server, "iam").get_policy_version(PolicyArn=policy, VersionId="v1")
    return list(version["PolicyVersion"]["Document"]["Statement"])


def bucket_statements(sink: str) -> list[dict[str, Any]]:
    """What the bucket's own policy says, read from the template, since moto does not deploy that kind of resource."""
    names = {"${AWS::Partition}": "aws", "${SinkBucket}": sink, "${SinkPrefix}": "features/"}

    class Loader(yaml.SafeLoader):
        """Knows the short forms of CloudFormation's functions; of those in this policy there is one, !Sub."""

    def short(loader: yaml.SafeLoader, _: str, node: yaml.Node) -> Any:
        if not isinstance(node, yaml.ScalarNode):
            return None
        return re.sub(r"\$\{.*?\}", lambda name: names.get(name[0], name[0]), str(loader.construct_scalar(node)))

    Loader.add_multi_constructor("!", short)
    resources = yaml.load(TEMPLATE.read_text(), Loader)["Resources"]  # noqa: S506  a SafeLoader
    return list(resources["SinkBucketPolicy"]["Properties"]["PolicyDocument"]["Statement"])


def aws(server: S3Server, service: str) -> Any:
    """A client of one of the server's other services."""
    keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
    return boto3.client(service, endpoint_url=server.endpoint, region_name=REGION, **keys)


def server_post(server: S3Server, path: str, body: bytes) -> None:
    """A POST to moto itself."""
    kind = {"Content-Type": "text/plain"}
    request = urllib.request.Request(f"{server.endpoint}/{path}", data=body, headers=kind)  # noqa: S310  of our own
    urllib.request.urlopen(request, timeout=20).close()  # noqa: S310
