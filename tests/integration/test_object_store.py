"""The job from S3 to S3: through a store in trouble, without credentials, and with images that change under it."""

import pytest
from s3fs import S3FileSystem

import pipeline
from tests.faults.faults import Answer, Cut, Reset

TOY = ["model=hiera_debug", "model.checkpoint=random", "execution.images_per_unit=3"]

pytestmark = pytest.mark.cluster


def read_here(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets this process read from that store; s3fs would go on with the one of an earlier test."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    S3FileSystem.clear_instance_cache()


@pytest.fixture
def photos(bucket, s3_server, make_photos, tmp_path):
    """Photographs in the bucket: their URI, their names, and the folder that has them too."""
    folder = tmp_path / "photos"
    names = make_photos(folder, 18)
    for name in names:
        s3_server.client.put_object(Bucket=bucket, Key=f"photos/{name}", Body=(folder / name).read_bytes())
    return f"s3://{bucket}/photos", names, folder


def test_a_store_in_trouble_costs_no_image(start_locally, expect_features, photos, fault_proxy, bucket, monkeypatch):
    uri, names, folder = photos
    sink = f"s3://{bucket}/features"
    faults = [
        fault_proxy.install(Answer(503, "SlowDown", probability=0.1, seed=1)),
        fault_proxy.install(Answer(503, "SlowDown", place="after", mutating=True, probability=0.2, seed=2)),
        fault_proxy.install(Reset(place="after", key="commits", mutating=True, first=2)),
        fault_proxy.install(Cut(0.5, key="photos", operation="GetObject", first=3)),
    ]
    done = start_locally(f"source.uri={uri}", f"sink.uri={sink}", *TOY, **fault_proxy.environment()).finish()
    assert done.code == 0, f"{done}\n{fault_proxy}"
    assert all(fault.fired for fault in faults), fault_proxy
    fault_proxy.clear()
    read_here(fault_proxy.environment(), monkeypatch)
    expect_features(sink, folder, names)
    assert pipeline.open_features(sink).quarantine.num_rows == 0


def test_a_later_run_over_a_prefix_takes_what_is_new_or_changed_and_notices_what_is_gone(
    start_locally, expect_features, photos, s3_server, bucket, monkeypatch
):
    uri, names, folder = photos
    command = [f"source.uri={uri}", f"sink.uri=s3://{bucket}/features", *TOY]
    first = start_locally(*command, **s3_server.environment()).finish()
    assert first.code == 0, str(first)

    (folder / "new.jpg").write_bytes((folder / names[1]).read_bytes())
    (folder / names[0]).write_bytes((folder / names[2]).read_bytes())
    for name in ("new.jpg", names[0]):
        s3_server.client.put_object(Bucket=bucket, Key=f"photos/{name}", Body=(folder / name).read_bytes())
    s3_server.client.delete_object(Bucket=bucket, Key=f"photos/{names[5]}")
    second = start_locally(*command, **s3_server.environment()).finish()
    assert second.code == 0, str(second)
    assert "2 planned = 2 embedded + 0 quarantined; 1 image of earlier runs gone" in second.out, str(second)

    again = start_locally(*command, **s3_server.environment()).finish()
    assert again.code == 0, str(again)
    assert again.out.startswith("nothing to do"), str(again)
    read_here(s3_server.environment(), monkeypatch)
    expect_features(f"s3://{bucket}/features", folder, [*names, "new.jpg"])
    assert pipeline.open_features(f"s3://{bucket}/features").removed["image_id"].to_pylist() == [names[5]]


def test_what_is_not_the_images_fault_ends_the_run_and_blames_none(start_locally, photos, fault_proxy, bucket):
    uri, names, _ = photos
    command = [f"source.uri={uri}", f"sink.uri=s3://{bucket}/features", *TOY, "execution.patience_s=2"]
    for fault, code, said in (
        (Answer(403, "ExpiredToken", operation="GetObject", key="photos"), 77, "ExpiredToken"),
        (Answer(503, "SlowDown", operation="GetObject", key="photos"), 75, "SlowDown"),
    ):
        fault_proxy.install(fault)
        ended = start_locally(*command, **fault_proxy.environment()).finish()
        assert ended.code == code, str(ended)
        assert said in ended.err, str(ended)
        assert "Traceback" not in ended.err + ended.out, str(ended)
        fault_proxy.clear()
    done = start_locally(*command, **fault_proxy.environment()).finish()
    assert done.code == 0, str(done)
    assert f"{len(names)} planned = {len(names)} embedded + 0 quarantined" in done.out
