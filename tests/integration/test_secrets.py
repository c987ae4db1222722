"""No secret in any byte that the job writes: every secret is a canary, and whatever was written is searched for it."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.faults import Placed
from tests.faults.wire import Request, Response

CANARY = "cAnArY0deadbeef"
SIGNED = (
    f"https://bucket.s3.amazonaws.com/k?X-Amz-Credential=AKIA{CANARY.upper()}%2F20261125&X-Amz-Signature={CANARY}"
    f"&X-Amz-Security-Token={CANARY}"
)
TOY = ["model=hiera_debug", "execution.images_per_unit=3", "execution.patience_s=1"]

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
def session():
    """Where Ray writes; short, because its sockets lie below it."""
    folder = Path(tempfile.mkdtemp(prefix="ray"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def run(start_locally, session, tmp_path):
    """Runs the job with canaries for credentials; gives it, and where a canary was found afterwards."""

    def start(*overrides, **environment):
        secrets = {"AWS_SECRET_ACCESS_KEY": f"{CANARY}/secret", "AWS_SESSION_TOKEN": f"{CANARY}/token"}
        places = {"RAY_TMPDIR": str(session), "SAM2_EMBED_CACHE": str(tmp_path / "cache")}
        done = start_locally(*TOY, *overrides, **{**environment, **secrets, **places}).finish()
        written = {
            str(path): path.read_bytes() for path in (*session.rglob("*"), *tmp_path.rglob("*")) if path.is_file()
        }
        written |= {"stdout": done.out.encode(), "stderr": done.err.encode()}
        assert len(written) > 2
        return done, [name for name, data in written.items() if CANARY.lower().encode() in data.lower()]

    return start


@pytest.mark.parametrize("logs", ["true", "false"])
@pytest.mark.parametrize(
    ("code", "status", "key"),
    [
        ("AccessDenied", 403, "photos"),
        ("SlowDown", 503, "photos"),
        ("Odd", 400, "photos"),
        ("AccessDenied", 403, "shards"),
        ("Odd", 400, "commits"),
        ("ExpiredToken", 403, ""),
    ],
)
def test_explore(run, s3_server, fault_proxy, bucket, make_photos, tmp_path, logs, code, status, key, session):
    folder = tmp_path / "photos"
    for name in make_photos(folder, 4):
        s3_server.client.put_object(Bucket=bucket, Key=f"photos/{name}", Body=(folder / name).read_bytes())
    fault_proxy.install(Telling(status=status, code=code, key=key, operation="GetObject|PutObject"))
    done, found = run(
        f"source.uri=s3://{bucket}/photos",
        f"sink.uri=s3://{bucket}/features",
        "model.checkpoint=random",
        f"execution.ray_logs={logs}",
        **fault_proxy.environment(),
    )
    print(done)
    print("FOUND", found)
    for p in found:
        if p.startswith("/"):
            import re

            d = Path(p).read_bytes()
            print(
                p,
                [d[max(0, m.start() - 300) : m.end() + 20] for m in re.finditer(CANARY.lower().encode(), d.lower())][
                    :1
                ],
            )
    fault_proxy.clear()
    bad = []
    for item in s3_server.client.list_objects_v2(Bucket=bucket).get("Contents", []):
        if item["Key"].startswith("features"):
            d = s3_server.client.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()
            if CANARY.lower().encode() in d.lower():
                bad.append(item["Key"])
    print("STORE", bad)
    assert not found and not bad
