"""No secret in any byte that the job writes: every secret is a canary, and whatever was written is searched for it."""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from s3fs import S3FileSystem

from pipeline.featureset import catalog
from pipeline.storage.folder import Folder
from tests.faults.faults import Placed
from tests.faults.store import client_environment
from tests.faults.wire import Request, Response

CANARY = "cAnArY0deadbeef"
SIGNED = (
    f"https://bucket.s3.amazonaws.com/k?X-Amz-Credential=AKIA{CANARY.upper()}%2F20261125&X-Amz-Signature={CANARY}"
    f"&X-Amz-Security-Token={CANARY}"
)
TOY = ["model=hiera_debug", "execution.images_per_unit=2", "execution.patience_s=1"]

pytestmark = pytest.mark.cluster


@dataclass
class Telling(Placed):
    """Answers with an S3 error that repeats the signed URL it was asked for, as proxies do."""

    status: int = 403
    code: str = "AccessDenied"

    async def harm(self, request: Request) -> Response:  # noqa: ARG002
        said = SIGNED.replace("&", "&amp;")
        text = f"<Error><Code>{self.code}</Code><Message>no: {said}</Message><Signature>{CANARY}</Signature></Error>"
        return Response((("Content-Type", "application/xml"),), text.encode(), self.status)


@pytest.fixture
def session() -> Iterator[Path]:
    """Where Ray writes; short, because its sockets lie below it."""
    folder = Path(tempfile.mkdtemp(prefix="ray"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def run(start_locally, session, tmp_path):
    """Runs the job with canaries for credentials; gives it, and everything it wrote to disks and to the terminal."""

    def start(*overrides, **environment):
        secrets = {"AWS_SECRET_ACCESS_KEY": f"{CANARY}/secret", "AWS_SESSION_TOKEN": f"{CANARY}/token"}
        places = {"RAY_TMPDIR": str(session), "SAM2_EMBED_CACHE": str(tmp_path / "cache"), "HOME": str(tmp_path)}
        done = start_locally(*TOY, *overrides, **{**environment, **secrets, **places}).finish()
        files = [path for folder in (session, tmp_path) for path in folder.rglob("*") if path.is_file()]
        written = {str(path): path.read_bytes() for path in files}
        return done, {**written, "stdout": done.out.encode(), "stderr": done.err.encode()}

    return start


def with_a_canary(written: dict[str, bytes]) -> list[str]:
    """The names of what holds a secret."""
    return [name for name, data in written.items() if CANARY.lower().encode() in data.lower()]


def objects(client, bucket: str) -> dict[str, bytes]:
    """Every object of the feature set."""
    found = client.list_objects_v2(Bucket=bucket, Prefix="features")["Contents"]
    return {item["Key"]: client.get_object(Bucket=bucket, Key=item["Key"])["Body"].read() for item in found}


def test_a_run_writes_no_secret_anywhere_whatever_it_meets(
    run, s3_server, fault_proxy, bucket, make_photos, tmp_path, monkeypatch
):
    client, folder = s3_server.client, tmp_path / "photos"
    *names, later = make_photos(folder, 3)
    for name in names:
        client.put_object(Bucket=bucket, Key=f"photos/{name}", Body=(folder / name).read_bytes())
    command = [f"source.uri=s3://{bucket}/photos", f"sink.uri=s3://{bucket}/features", "model.checkpoint=random"]

    told = fault_proxy.install(Telling(operation="GetObject", key=names[0], status=400, code="Odd"))
    done, written = run(*command, **fault_proxy.environment())
    assert told.fired, fault_proxy
    assert done.code == 0, str(done)
    assert with_a_canary({**written, **objects(client, bucket)}) == []

    client.put_object(Bucket=bucket, Key=f"photos/{later}", Body=(folder / later).read_bytes())
    told = fault_proxy.install(Telling(operation="PutObject", key="runs/000002/commits/"))
    done, written = run(*command, "execution.ray_logs=true", **fault_proxy.environment())
    assert told.fired, fault_proxy
    assert done.code == 77, str(done)
    assert "AccessDenied: no: https://bucket.s3.amazonaws.com/k?***" in done.err
    assert any("ray-data.log" in name for name in written), "Ray's own logs are among what is searched"
    assert with_a_canary({**written, **objects(client, bucket)}) == []
    assert not (tmp_path / ".ray").exists(), "the token of a local Ray is on no disk"

    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    S3FileSystem.clear_instance_cache()
    (row,) = catalog.commit_records(Folder(f"s3://{bucket}/features"), 1)[0].quarantine
    assert (row.image_id, row.message) == (names[0], "Odd: no: https://bucket.s3.amazonaws.com/k?***")


@pytest.mark.parametrize(
    ("overrides", "environment", "code", "said"),
    [
        (["source.uri=s3://b/x"], client_environment(f"http://user:{CANARY}@127.0.0.1:1"), 75, "s3://b/x could not be"),
        (
            ["source=sample", f"model.checkpoint=http://u:{CANARY}@h/x.pt?sig={CANARY}"],
            {},
            64,
            "checkpoint http://***@h/x.pt:",
        ),
        (["source=sample", f"sink.uri=s3://b/x?X-Amz-Signature={CANARY}"], {}, 64, "X-Amz-Signature=***': it holds a"),
    ],
)
def test_a_command_that_fails_is_refused_without_its_secrets(run, tmp_path, overrides, environment, code, said):
    done, written = run(f"sink.uri={tmp_path}/features", "model.checkpoint=random", *overrides, **environment)
    assert done.code == code, str(done)
    assert said in done.err, str(done)
    assert "Traceback" not in done.err
    assert with_a_canary(written) == []
