"""infra/storage: under the shipped policies the job embeds and cleans, nobody can do more, no rule loses a shard."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from botocore.exceptions import ClientError
from cfnlint.api import ManualArgs, lint_file

import pipeline
from tests.expected import difference
from tests.infra.guarded_store import REGION, TEMPLATE, GuardedStore, guarded_store

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCE, SINK = "photos-of-others", "features-of-ours"
PYTHON_OF_JOBS = {"PYTHON": sys.executable, "EMBED_TRIES": "1"}


def run(keys: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    """A command of the repository's in the environment of a user of the store."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "AWS_"))}
    environment = {**clean, **keys, **PYTHON_OF_JOBS}
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)


def job(keys: dict[str, str], name: str, *overrides: str) -> subprocess.CompletedProcess[str]:
    return run(keys, sys.executable, f"jobs/{name}.py", f"sink.uri=s3://{SINK}/features", *overrides)


@pytest.fixture(scope="module")
def guarded() -> Iterator[GuardedStore]:
    with guarded_store(SOURCE, SINK) as store:
        yield store


@pytest.mark.cluster
@pytest.mark.usefixtures("other_clients")
def test_the_job_embeds_and_cleans_under_its_policies_alone(guarded, make_photos, tmp_path, monkeypatch):
    names = make_photos(tmp_path / "photos", 6)
    for name in names:
        body = (tmp_path / "photos" / name).read_bytes()
        guarded.client("admin").put_object(Bucket=SOURCE, Key=f"photos/{name}", Body=body)
    overrides = [f"source.uri=s3://{SOURCE}/photos", "model=hiera_debug", "model.checkpoint=random"]
    overrides += [f"sink.uri=s3://{SINK}/features", "execution.images_per_unit=3", "run.audit_images=0"]
    embedded = run(guarded.users["embed"], "bash", "infra/cron/embed.sh", *overrides)
    assert embedded.returncode == 0, f"{embedded.stdout}{embedded.stderr}{guarded.proxy}"
    assert {each.answered for each in guarded.proxy.requests} <= {200, 206, 404, 412}, (
        f"refused something: {guarded.proxy}"
    )

    shard = features(guarded, monkeypatch).files[0].removeprefix(f"s3://{SINK}/")
    assert not difference(f"s3://{SINK}/features", tmp_path / "photos", names)
    begun = {
        "Bucket": SINK,
        "Key": shard.replace(shard[-40:-8], "0" * 32),
    }  # by a killed writer; moto has it begun in 2010
    upload = guarded.client("embed").create_multipart_upload(**begun)["UploadId"]
    refused = job(guarded.users["embed"], "clean", "older_than_hours=1", "--yes")
    assert refused.returncode == 77, refused.stdout + refused.stderr
    cleaned = job(guarded.users["clean"], "clean", "older_than_hours=1", "--yes")
    assert cleaned.returncode == 0, cleaned.stdout + cleaned.stderr
    admin = guarded.client("admin")
    assert upload not in str(admin.list_multipart_uploads(Bucket=SINK))
    assert shard in {each["Key"] for each in admin.list_objects_v2(Bucket=SINK, Prefix="features/")["Contents"]}


def features(guarded: GuardedStore, monkeypatch: pytest.MonkeyPatch) -> pipeline.FeatureSet:
    """The set as somebody who may only read it opens it."""
    for name, value in guarded.users["read"].items():
        monkeypatch.setenv(name, value)
    return pipeline.open_features(f"s3://{SINK}/features")


def allowed(call: Callable[..., Any], **given: Any) -> bool:
    """Whether a call is answered other than by 403."""
    try:
        call(**given)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 403:
            raise
        return False
    return True


def test_each_user_can_do_what_it_is_for_and_no_more(guarded):
    admin = guarded.client("admin")
    admin.put_object(Bucket=SOURCE, Key="photos/a.jpg", Body=b"a")
    admin.put_object(Bucket=SOURCE, Key="private/a.jpg", Body=b"a")
    for key in ("features/shards/000001/x", "elsewhere/x"):
        admin.put_object(Bucket=SINK, Key=key, Body=b"x", IfNoneMatch="*")
    at_shard, elsewhere = {"Bucket": SINK, "Key": "features/shards/000001/x"}, {"Bucket": SINK, "Key": "elsewhere/x"}
    attempts = {
        "read an image": ("get_object", {"Bucket": SOURCE, "Key": "photos/a.jpg"}),
        "list images": ("list_objects_v2", {"Bucket": SOURCE, "Prefix": "photos/"}),
        "read beside the images": ("get_object", {"Bucket": SOURCE, "Key": "private/a.jpg"}),
        "list all of the source": ("list_objects_v2", {"Bucket": SOURCE}),
        "write an image": ("put_object", {"Bucket": SOURCE, "Key": "photos/a.jpg", "Body": b"b"}),
        "delete an image": ("delete_object", {"Bucket": SOURCE, "Key": "photos/a.jpg"}),
        "read a shard": ("get_object", at_shard),
        "list the set": ("list_objects_v2", {"Bucket": SINK, "Prefix": "features/"}),
        "replace a description": ("put_object", {"Bucket": SINK, "Key": "features/README.md", "Body": b"d"}),
        "read beside the set": ("get_object", elsewhere),
        "write beside the set": ("put_object", {**elsewhere, "Body": b"y", "IfNoneMatch": "*"}),
        "list uploads": ("list_multipart_uploads", {"Bucket": SINK}),
        "change the bucket's rules": ("delete_bucket_lifecycle", {"Bucket": SINK}),
        "delete a shard": ("delete_object", at_shard),
    }
    reading = {"read a shard", "list the set"}
    may = {
        "embed": {"read an image", "list images", "replace a description", *reading},
        "clean": {"list uploads", "delete a shard", *reading},
        "read": reading,
    }
    for user in ("read", "embed", "clean"):
        client = guarded.client(user)
        can = {what for what, (name, given) in attempts.items() if allowed(getattr(client, name), **given)}
        assert can == may[user], user


PLACES = ["runs/000009/run.json", "runs/000009/commits/000000000.json", "shards/000009/x", "position_encodings/x"]


@pytest.mark.parametrize("place", [*PLACES, "featureset.json"])
def test_records_and_shards_are_created_only_if_absent_by_whoever_may_write(guarded, place):
    at = {"Bucket": SINK, "Key": f"features/{place}"}
    for user in ("embed", "admin"):
        assert not allowed(guarded.client(user).put_object, **at, Body=b"unconditional")
    client = guarded.client("embed")
    upload = client.create_multipart_upload(**at)["UploadId"]
    tag = client.upload_part(**at, UploadId=upload, PartNumber=1, Body=b"part")["ETag"]
    parts = {"UploadId": upload, "MultipartUpload": {"Parts": [{"PartNumber": 1, "ETag": tag}]}}
    assert not allowed(client.complete_multipart_upload, **at, **parts)
    if place in PLACES:
        assert allowed(client.complete_multipart_upload, **at, **parts, IfNoneMatch="*")


def test_the_template_has_nothing_that_cloudformation_would_refuse():
    assert [str(found) for found in lint_file(TEMPLATE, config=ManualArgs(regions=[REGION]))] == []


def test_a_store_takes_the_lifecycle_and_no_rule_expires_what_a_set_needs(s3_server, bucket):
    rules = yaml.safe_load((REPOSITORY / "infra/storage/lifecycle.yaml").read_text())
    s3_server.client.put_bucket_lifecycle_configuration(Bucket=bucket, **rules)
    (taken,) = s3_server.client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert taken["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
    assert taken["Status"] == "Enabled"
    assert not {"Expiration", "Transitions"} & taken.keys()
    made = TEMPLATE.read_text()
    assert "DaysAfterInitiation: 7" in made
    assert "Expiration:" not in made.replace("NoncurrentVersionExpiration:", ""), (
        "no rule knows which shards are needed"
    )
