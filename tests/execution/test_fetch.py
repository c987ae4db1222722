"""Fetching and decoding a unit without Ray: pixels of the good, quarantine rows of the bad, nobody else is blamed."""

import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pipeline
from pipeline.errors import AccessDeniedError, StoreUnavailableError
from pipeline.execution.blocks import DecodedUnit
from pipeline.execution.fetch import DecodeLimits, FetchAndDecode
from pipeline.execution.plan import cut_units
from pipeline.featureset.part import Part
from pipeline.featureset.records import CommitRecord
from pipeline.featureset.schema import PART
from pipeline.preprocessing.pixel_rules import PixelRules
from pipeline.sinks.commits import commit_unit
from pipeline.sources.directory import DirectorySource
from pipeline.sources.image_ref import refs_batch, written_versions
from pipeline.storage.folder import Folder
from pipeline.storage.roots import Roots
from tests import poison
from tests.faults.barriers import Barrier
from tests.faults.faults import Answer, Cut, Fault, Reset, Stall
from tests.faults.proxied import ProxiedBucket
from tests.web_server import LOOPBACK, WebServer, body, status


@pytest.fixture
def fetch(tmp_path: Path) -> Callable[..., DecodedUnit]:
    """Fetches the first unit of some refs, for a feature set that nothing is committed in."""

    def run(batches: list[pa.RecordBatch], **changes: Any) -> DecodedUnit:
        (plan,) = cut_units(batches, 100)
        given = {"side_px": 64, "sink_uri": str(tmp_path / "set"), "run": 1, "patience_s": 1.0, **changes}
        block = FetchAndDecode(**given)(plan)
        assert block.num_rows == 1
        return DecodedUnit.from_block(block)

    return run


def unversioned(uris: dict[str, str]) -> list[pa.RecordBatch]:
    return [refs_batch([(name, uri, 1, "") for name, uri in uris.items()])]


def listed(folder: Path | str) -> list[pa.RecordBatch]:
    """The refs of a folder or bucket, with versions."""
    return list(DirectorySource(str(folder)).refs())


def ids(unit: DecodedUnit) -> list[str]:
    return [image.image_id for image in unit.images]


def failures(unit: DecodedUnit) -> dict[str, tuple[str, str, str]]:
    return {row.image_id: (row.stage, row.error_class, row.error_type) for row in unit.quarantine}


# Images


def test_pixels_are_those_of_preprocess(fetch, photographs):
    names = ["rocket.jpg", "camera.png"]
    unit = fetch(unversioned({name: str(photographs[name]) for name in names}), where=lambda: "this node")
    assert ids(unit) == names
    assert unit.made is not None
    assert unit.made.node == "this node"
    assert [(image.height, image.width) for image in unit.images] == [(427, 640), (512, 512)]
    for place, name in enumerate(names):
        np.testing.assert_array_equal(unit.pixels_NCHW[place], pipeline.preprocess(photographs[name], 64).numpy())
    assert unit.quarantine == []
    assert {"fetch", "decode", "resize"} <= set(unit.seconds)
    assert unit.fetched_bytes == sum(photographs[name].stat().st_size for name in names)
    assert unit.retries == {"storage": 0, "decoder": 0}


def test_every_bad_image_becomes_one_row_and_costs_its_neighbours_nothing(fetch, photographs, tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "text.png").write_text("<!doctype html>")
    bad = ["empty.png", "folder.png", "missing.png", "text.png"]
    good = {name: str(photographs[name]) for name in ("coins.png", "rocket.jpg")}
    uris = {"coins.png": good["coins.png"], **{name: str(tmp_path / name) for name in bad}}
    unit = fetch(unversioned({**uris, "rocket.jpg": good["rocket.jpg"]}))
    assert ids(unit) == ["coins.png", "rocket.jpg"]
    for place, name in enumerate(ids(unit)):
        np.testing.assert_array_equal(unit.pixels_NCHW[place], pipeline.preprocess(good[name], 64).numpy())
    assert failures(unit) == {
        "empty.png": ("decode", "permanent", "EmptyFile"),
        "folder.png": ("fetch", "permanent", "IsADirectoryError"),
        "missing.png": ("fetch", "permanent", "FileNotFoundError"),
        "text.png": ("decode", "permanent", "FormatNotAllowed"),
    }
    assert [row.uri for row in unit.quarantine] == [uris[name] for name in bad]


def test_a_unit_of_nothing_but_bad_images_still_is_a_unit(fetch, tmp_path):
    (tmp_path / "another.png").touch()
    unit = fetch(unversioned({"gone.png": str(tmp_path / "gone.png")}))
    assert unit.images == []
    assert unit.pixels_NCHW.shape == (0, 3, 64, 64)
    assert len(unit.quarantine) == 1


def test_an_image_that_kills_its_decoder_is_one_row_too(fetch, photographs, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(poison.plugin_folder(tmp_path / "plugins")))
    (tmp_path / "abort.png").write_bytes(poison.ABORT)
    (tmp_path / "hang.png").write_bytes(poison.HANG)
    uris = {name: str(tmp_path / name) for name in ("abort.png", "hang.png")}
    limits = DecodeLimits(timeout_s=1.0)  # of a decoder that no other test has
    unit = fetch(unversioned({**uris, "coins.png": str(photographs["coins.png"])}), limits=limits)
    assert ids(unit) == ["coins.png"]
    assert failures(unit) == {
        "abort.png": ("decode", "permanent", "DecoderCrashed"),
        "hang.png": ("decode", "permanent", "DecodeTimeout"),
    }
    assert 2 <= unit.retries["decoder"] <= 4, "each had two, the last of which is replaced at once or by the next image"


def test_a_file_or_an_image_that_is_too_large_is_one_row_too(fetch, photographs, tmp_path):
    names = ["coins.png", "rocket.jpg", "camera.png"]
    sizes = {name: photographs[name].stat().st_size for name in names}
    listed = [refs_batch([(name, str(photographs[name]), size, "") for name, size in sizes.items()])]
    assert sizes["camera.png"] > sizes["rocket.jpg"] > sizes["coins.png"]
    limits = DecodeLimits(file_bytes=sizes["rocket.jpg"], rules=PixelRules(max_pixels=427 * 640 - 1))
    unit = fetch(listed, limits=limits)
    assert failures(unit) == {
        "rocket.jpg": ("decode", "permanent", "ImageTooLarge"),
        "camera.png": ("fetch", "permanent", "FileTooLarge"),
    }
    assert ids(unit) == ["coins.png"]
    assert "raise execution.decode_max_mib" in unit.quarantine[1].message
    (tmp_path / "grown.png").write_bytes(bytes(sizes["rocket.jpg"] + 1))
    gone = tmp_path / "gone.png"  # listed as too large, so that nobody looks
    huge = [refs_batch([("grown.png", str(tmp_path / "grown.png"), 1, ""), ("gone.png", str(gone), 2**40, "")])]
    assert failures(fetch(huge, limits=limits)) == dict.fromkeys(
        ("grown.png", "gone.png"), ("fetch", "permanent", "FileTooLarge")
    )


def test_an_image_that_changed_since_it_was_listed_waits_for_a_later_run(fetch, photographs, make_photos, tmp_path):
    names = make_photos(tmp_path / "photos", 3)
    batches = listed(tmp_path / "photos")
    (tmp_path / "photos" / names[0]).write_bytes(photographs["rocket.jpg"].read_bytes())
    os.utime(tmp_path / "photos" / names[1], ns=(10**18, 10**18))
    unit = fetch(batches)
    assert ids(unit) == names[2:]
    assert failures(unit) == dict.fromkeys(names[:2], ("fetch", "transient", "ImageChanged"))
    assert "a later run embeds it" in unit.quarantine[0].message


def test_a_version_that_a_list_has_is_not_compared_with_the_files(fetch, make_photos, tmp_path):
    (name,) = make_photos(tmp_path, 1)
    batch = refs_batch([(name, str(tmp_path / name), 0, "v1")])
    assert failures(fetch([batch])) == {name: ("fetch", "transient", "ImageChanged")}
    listed_by_hand = batch.set_column(3, batch.schema.field(3), written_versions(batch["version"]))
    assert ids(fetch([listed_by_hand])) == [name]


def test_a_file_that_can_be_opened_but_not_read_is_the_files_fault(fetch, make_photos, tmp_path):
    names = make_photos(tmp_path / "photos", 2)
    batches = listed(tmp_path / "photos")
    (tmp_path / "photos" / names[0]).unlink()
    (tmp_path / "photos" / names[0]).symlink_to("/proc/self/mem")
    unit = fetch([refs_batch([(row["image_id"], row["uri"], 1, "") for row in batches[0].to_pylist()])])
    assert ids(unit) == names[1:]
    assert failures(unit)[names[0]][:2] == ("fetch", "transient"), "EIO: a bad sector, or a file server in trouble"


@pytest.mark.parametrize("is_mounted", [False, True], ids=["no-folder", "empty-folder"])
def test_a_node_without_the_source_blames_no_image(fetch, tmp_path, is_mounted: bool):
    place = tmp_path / "photos"
    if is_mounted:
        place.mkdir()
    with pytest.raises(StoreUnavailableError, match="mount the source on every node"):
        fetch(unversioned({name: str(place / name) for name in ("a.png", "b.png")}))


# Work that is done


def test_a_unit_that_is_committed_is_not_fetched_again(fetch, tmp_path):
    root = Folder(tmp_path / "set")
    commit = {"run": 1, "unit": 0, "token": "t", "fingerprint": "f", "shard": None, "quarantine": ()}
    commit_unit(root, CommitRecord(**commit))
    refs = unversioned({"a.jpg": str(tmp_path / "a.jpg")})
    unit = fetch(refs)
    assert (unit.unit, unit.is_committed, unit.images, unit.quarantine) == (0, True, [], [])
    assert not fetch(refs, run=2).is_committed


# Stores


@pytest.fixture
def bucket_of_photos(store: ProxiedBucket, make_photos, tmp_path) -> list[pa.RecordBatch]:
    """Refs of four photographs in a bucket."""
    for name in make_photos(tmp_path / "photos", 4):
        data = (tmp_path / "photos" / name).read_bytes()
        store.direct.put_object(Bucket=store.bucket, Key=f"photos/{name}", Body=data)
    return listed(f"s3://{store.bucket}/photos")


ALL_FOUR = [f"{number:05d}.jpg" for number in range(4)]


def test_a_bucket_gives_what_a_folder_gives(fetch, bucket_of_photos, tmp_path):
    remote, local = fetch(bucket_of_photos), fetch(listed(tmp_path / "photos"))
    assert ids(remote) == ids(local) == ALL_FOUR
    np.testing.assert_array_equal(remote.pixels_NCHW, local.pixels_NCHW)


@pytest.mark.parametrize(
    "fault",
    [Answer(503, first=5), Reset(first=5), Cut(0.7, first=5), Stall(first=1)],
    ids=["503", "reset", "cut", "stall"],
)
def test_trouble_of_a_store_is_waited_out(fault: Fault, fetch, bucket_of_photos, store: ProxiedBucket):
    fault.operation = "GetObject"
    store.proxy.install(fault)
    unit = fetch(bucket_of_photos, patience_s=30.0)
    assert ids(unit) == ALL_FOUR
    assert unit.quarantine == []
    assert fault.fired == fault.first


@pytest.mark.parametrize("fault", [Answer(503), Answer(500), Reset()], ids=["503", "500", "reset"])
def test_a_store_that_stays_in_trouble_is_never_the_images_fault(
    fault: Fault, fetch, bucket_of_photos, store: ProxiedBucket
):
    fault.operation = "GetObject"
    store.proxy.install(fault)
    with pytest.raises(StoreUnavailableError, match=f"s3://{store.bucket}/photos/00000.jpg"):
        fetch(bucket_of_photos)


def test_a_store_that_goes_down_in_the_middle_is_not_the_images_fault_either(
    fetch, bucket_of_photos, store: ProxiedBucket
):
    third = store.proxy.install(Barrier(operation="GetObject", key="photos/", at=3))
    with ThreadPoolExecutor(1) as pool:
        fetching = pool.submit(fetch, bucket_of_photos)
        third.wait_held()
        store.proxy.install(Answer(503, operation="GetObject"))
        third.release()
        with pytest.raises(StoreUnavailableError):
            fetching.result()


def test_one_object_in_trouble_is_set_aside_while_the_store_gives_others(fetch, bucket_of_photos, store: ProxiedBucket):
    store.proxy.install(Answer(503, key="00001.jpg"))
    unit = fetch(bucket_of_photos)
    assert ids(unit) == ["00000.jpg", "00002.jpg", "00003.jpg"]
    assert failures(unit) == {"00001.jpg": ("fetch", "transient", "StoreUnavailable")}
    assert unit.retries["storage"] > 0


def test_all_images_of_a_unit_share_its_patience(fetch, bucket_of_photos, store: ProxiedBucket):
    for name in ALL_FOUR[:3]:
        store.proxy.install(Answer(503, key=name))
    unit = fetch(bucket_of_photos)
    assert ids(unit) == ALL_FOUR[3:]
    tries = [sum(name in seen.key for seen in store.proxy.seen("GetObject")) for name in ALL_FOUR[:3]]
    # One try by the client, which sends three requests; and once more before an image is blamed.
    assert tries[1] == tries[2] == 6, tries


@pytest.mark.parametrize(
    ("fault", "failure"),
    [
        (Answer(403), ("fetch", "transient", "PermissionError")),
        (Answer(404), ("fetch", "transient", "FileNotFoundError")),
        (Answer(400, "InvalidObjectState"), ("fetch", "transient", "OSError")),
    ],
    ids=["denied", "missing", "archived"],
)
def test_an_object_that_cannot_be_had_is_set_aside_for_another_day(
    fault: Fault, failure: tuple[str, str, str], fetch, bucket_of_photos, store: ProxiedBucket
):
    fault.key = "00002.jpg"
    store.proxy.install(fault)
    unit = fetch(bucket_of_photos)
    assert ids(unit) == ["00000.jpg", "00001.jpg", "00003.jpg"]
    assert failures(unit) == {"00002.jpg": failure}


def test_an_object_that_changed_since_it_was_listed_waits_for_a_later_run(
    fetch, bucket_of_photos, store: ProxiedBucket
):
    store.direct.put_object(Bucket=store.bucket, Key="photos/00000.jpg", Body=store.body("photos/00001.jpg"))
    unit = fetch(bucket_of_photos)
    assert failures(unit) == {"00000.jpg": ("fetch", "transient", "ImageChanged")}


@pytest.mark.parametrize(
    "fault", [Answer(403), Answer(403, "ExpiredToken", key="00002.jpg")], ids=["all denied", "one with an old token"]
)
def test_a_missing_permission_of_ours_is_not_the_images_fault(
    fault: Fault, fetch, bucket_of_photos, store: ProxiedBucket
):
    fault.operation = "GetObject"
    fault.key = fault.key or "photos/"
    store.proxy.install(fault)
    with pytest.raises(AccessDeniedError, match=f"s3://{store.bucket}/photos"):
        fetch(bucket_of_photos)


def test_a_sink_that_does_not_answer_is_no_images_fault_either(fetch, bucket_of_photos, store: ProxiedBucket):
    store.proxy.install(Answer(503, key="commits/"))
    with pytest.raises(StoreUnavailableError, match="could not be reached"):
        fetch(bucket_of_photos, sink_uri=f"s3://{store.bucket}/set", patience_s=0.1)


def test_images_that_are_ranges_of_one_file_are_read_as_such(
    tmp_path: Path, photographs: dict[str, Path], fetch: Callable[..., DecodedUnit]
):
    first, second = photographs["coffee.png"].read_bytes(), photographs["rocket.jpg"].read_bytes()
    (tmp_path / "both").write_bytes(first + second)
    uri, cut = str(tmp_path / "both"), len(first)
    rows = [("a", uri, 1, ""), ("b", uri, 1, ""), ("c", uri, 1, "")]
    parts = [f"bytes=0-{cut}", f"bytes={cut}-{cut + len(second)}", f"bytes={cut}-{cut + len(second) + 1}"]
    batch = refs_batch(rows).append_column(PART, pa.array(parts))
    unit = fetch([batch])
    assert [(image.image_id, image.height, image.width) for image in unit.images] == [("a", 400, 600), ("b", 427, 640)]
    np.testing.assert_array_equal(unit.pixels_NCHW[1], pipeline.preprocess(second, 64).numpy())
    (refused,) = unit.quarantine
    assert (refused.image_id, refused.error_type, refused.error_class) == ("c", "RangeNotThereError", "transient")


def test_an_empty_range_is_an_empty_image_and_never_the_whole_file(fetch, bucket_of_photos, store: ProxiedBucket):
    uri = bucket_of_photos[0]["uri"][0].as_py()
    batch = refs_batch([("empty", uri, 0, "")]).append_column(PART, pa.array([Part(bytes_at=(8, 8)).text]))
    unit = fetch([batch])
    assert failures(unit) == {"empty": ("decode", "permanent", "EmptyFile")}
    assert store.proxy.seen("GetObject") == []


def test_what_a_damaged_shard_holds_is_one_row_that_says_why(fetch, photographs):
    parts = [Part(damage="it ends at byte 7").text, None]
    rows = [("00000.tar", "/nowhere/00000.tar", 1, ""), ("coins.png", str(photographs["coins.png"]), 1, "")]
    unit = fetch([refs_batch(rows).append_column(PART, pa.array(parts))])
    assert ids(unit) == ["coins.png"]
    assert failures(unit) == {"00000.tar": ("fetch", "transient", "DamagedShard")}
    assert unit.quarantine[0].message == "it ends at byte 7"


def test_images_in_rows_of_a_parquet_file_are_read_by_the_decoder(fetch, photographs, store: ProxiedBucket, tmp_path):
    names = ["coffee.png", "rocket.jpg", "camera.png"]
    images = [*(photographs[name].read_bytes() for name in names), None]
    table = pa.table({"image": pa.array([{"bytes": data} for data in images])})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2, write_page_checksum=True, compression="none")
    data = bytearray((tmp_path / "a.parquet").read_bytes())
    data[data.index(images[2]) + 1000] ^= 1
    store.direct.put_object(Bucket=store.bucket, Key="a.parquet", Body=bytes(data))
    uri = f"s3://{store.bucket}/a.parquet"
    parts = pa.array([Part(row=row, column="image.bytes").text for row in range(4)])
    unit = fetch([refs_batch([(str(row), uri, len(data), "") for row in range(4)]).append_column(PART, parts)])
    assert ids(unit) == ["0", "1"]
    for place, name in enumerate(names[:2]):
        np.testing.assert_array_equal(unit.pixels_NCHW[place], pipeline.preprocess(photographs[name], 64).numpy())
    assert failures(unit) == dict.fromkeys("23", ("fetch", "transient", "DamagedShard"))


# Lists that somebody else wrote


def test_what_a_list_may_not_name_is_one_row_each(fetch, photographs, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/good.png").symlink_to(photographs["coins.png"])
    (tmp_path / "photos/link.png").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "photos/pipe.png")
    place = f"{tmp_path}/photos"
    refused = {
        "file:///etc/passwd",
        "/etc/passwd",
        "../../etc/passwd",
        "file://host/share",
        f"{place}/link.png",
        f"{place}/../other.png",
        "s3://other-bucket/x.png",
        "simplecache::file:///etc/passwd",
        "data:,abc",
        "http://169.254.169.254/latest/",
        "s3://***@bucket/x.png",
        "",
    }
    bad_keys = {f"{place}/a\nb.png", f"{place}/a\x1b[2Jb.png", "s3://bucket/\u202egnp.a", f"s3://bucket/{'x' * 2000}"}
    uris = {f"{n}.png": uri for n, uri in enumerate(sorted({*refused, *bad_keys}))}
    uris["good.png"], uris["pipe.png"] = f"{place}/good.png", f"{place}/pipe.png"
    uris = {name: uri.replace("***@", "user:hunter2@") for name, uri in uris.items()}
    unit = fetch(unversioned(uris), roots=Roots((place, str(photographs["coins.png"].parent))))
    assert ids(unit) == ["good.png"]
    by_type = {
        kind: {row.uri for row in unit.quarantine if row.error_type == kind} for kind in ("UriNotAllowed", "BadKey")
    }
    assert by_type == {"UriNotAllowed": refused, "BadKey": bad_keys}
    assert failures(unit)["pipe.png"] == ("fetch", "permanent", "NotARegularFileError")
    assert len(unit.quarantine) == len(refused) + len(bad_keys) + 1
    for row in unit.quarantine:
        assert (row.stage, row.error_class) == ("fetch", "permanent")
        assert row.message.isprintable()
        assert "hunter2" not in row.uri + row.message


def test_a_web_page_that_cannot_be_had_is_at_fault_and_a_server_in_trouble_is_waited_for(fetch, photographs):
    troubled = iter([status(429, Retry_After="0"), status(503), body(photographs["coins.png"].read_bytes())])
    pages = {
        "/good.jpg": body(photographs["rocket.jpg"].read_bytes()),
        "/later.png": lambda handler: next(troubled)(handler),  # noqa: PLW0108  another page each time
        "/gone.png": status(410),
        "/denied.png": status(403),
        "/odd.png": status(418),
    }
    with WebServer(pages) as server:
        root = f"http://127.0.0.1:{server.port}"
        names = [*(path.removeprefix("/") for path in pages), "missing.png"]
        uris = {name: f"{root}/{name}?key=hunter2" for name in names}
        unit = fetch(unversioned(uris), roots=Roots((root,), LOOPBACK), patience_s=30.0)
    assert ids(unit) == ["good.jpg", "later.png"]
    assert failures(unit) == {
        "gone.png": ("fetch", "permanent", "FileNotFoundError"),
        "denied.png": ("fetch", "permanent", "PermissionError"),
        "odd.png": ("fetch", "permanent", "OSError"),
        "missing.png": ("fetch", "permanent", "FileNotFoundError"),
    }
    assert not any("hunter2" in row.uri + row.message for row in unit.quarantine)


def test_one_web_page_in_trouble_is_set_aside_while_another_comes(fetch, photographs):
    pages = {"/good.jpg": body(photographs["rocket.jpg"].read_bytes()), "/busy.png": status(503, Retry_After="1000")}
    with WebServer(pages) as server:
        root = f"http://127.0.0.1:{server.port}"
        uris = {path.removeprefix("/"): f"{root}{path}" for path in pages}
        unit = fetch(unversioned(uris), roots=Roots((root,), LOOPBACK), patience_s=0.2)
    assert ids(unit) == ["good.jpg"]
    assert failures(unit) == {"busy.png": ("fetch", "transient", "HostUnavailable")}


def test_a_unit_of_hosts_that_do_not_answer_is_quarantined_and_ends_no_run(fetch):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    unit = fetch(
        unversioned({"a": f"http://127.0.0.1:{port}/a.png"}), roots=Roots((f"http://127.0.0.1:{port}",), LOOPBACK)
    )
    assert failures(unit) == {"a": ("fetch", "transient", "HostUnavailable")}
