"""What commits say of the speed of an encoder: start-up apart from what is steady, computing apart from the rest."""

from dataclasses import replace

import pytest

from pipeline.errors import ConfigError
from pipeline.execution.measuring import DrawnSource, measure, measured, temporary
from pipeline.execution.resources import Placement
from pipeline.featureset import paths
from pipeline.featureset.records import CommitRecord, TableFile, UnitWork
from pipeline.forecast.rates import Job
from pipeline.observability.accounting import ACTIVITIES, PAUSES
from pipeline.sources.image_ref import REFS
from pipeline.storage.folder import Folder
from tests.faults.faults import Answer
from tests.faults.proxied import ProxiedBucket

KNOWN = Job(beside_core_s=9, decode_core_s=9, write_core_s_per_gb=1.35, start_s=9, audit_s=9, end_s=1e-5, peak_gb=4.7)
ON_CPU = Placement("cpu", 1, num_cpus=2, num_gpus=0, num_threads=2)
ON_GPU = Placement("cuda", 1, num_cpus=1, num_gpus=1, num_threads=1)


def commit(unit: int, until: float, account: dict[str, float], seconds: dict[str, float]) -> CommitRecord:
    """Of four images of 50 MB."""
    whole = {**dict.fromkeys((*ACTIVITIES, *PAUSES), 0.0), **account}
    return CommitRecord(
        run=1,
        unit=unit,
        token=paths.token(),
        fingerprint="f",
        shard=TableFile(name=paths.shard(1, unit), num_rows=4, size_bytes=200_000_000, sha256="0" * 64),
        quarantine=(),
        work=UnitWork(command="c", command_began=0, encoder="e", began=0, until=until, account=whole, seconds=seconds),
    )


# A start of 20 s, a first unit with an audit, then 4 s a unit, of which 3 s are computed and half a second waited for.
COMMITS = [
    commit(0, 1_028, {"compute": 3}, {"audit": 4.0, "decode": 1.0}),
    commit(1, 1_032, {"compute": 5.5, "copy": 0.5, "decode": 0.5}, {"decode": 0.2, "resize": 0.2}),
    commit(2, 1_036, {"compute": 8.0, "copy": 1.0, "decode": 1.0}, {"decode": 0.2, "resize": 0.2}),
]


def test_start_up_audits_and_what_is_steady_are_told_apart_on_cpus():
    found = measured(COMMITS, 1_000, 40.0, write_bytes_s=1e9, placement=ON_CPU, known=KNOWN)
    assert (found.rate.seconds_per_image, found.rate.num_cores) == (pytest.approx(0.75), 2)
    steady_s = 1.0
    in_cores = found.rate.seconds_per_image * 2 + found.job.beside_core_s + 0.05 * found.job.write_core_s_per_gb
    assert in_cores == pytest.approx(2 * steady_s), "the forecast of the same run takes as long"
    assert found.job.audit_s == pytest.approx(4.0 / 2), "it held up one of two lanes"
    assert found.job.start_s == pytest.approx(28 - 4 * steady_s - 2.0 + (40 - 36))
    assert found.job.decode_core_s == pytest.approx(0.1)
    assert found.write_bytes_s == 1e9


def test_on_gpus_what_was_waited_for_is_not_the_encoders():
    found = measured(COMMITS, 1_000, 40.0, write_bytes_s=1e9, placement=ON_GPU, known=KNOWN)
    assert (found.rate.seconds_per_image, found.rate.num_cores) == (pytest.approx(1.0 - 0.125), 0)
    assert found.job.write_core_s_per_gb == KNOWN.write_core_s_per_gb


def test_writing_is_never_more_than_what_there_was_beside_computing():
    fast = [commit(unit, 1_000 + unit, {"compute": 0.99 * unit}, {}) for unit in range(3)]
    found = measured(fast, 990, 15, write_bytes_s=1e9, placement=ON_CPU, known=replace(KNOWN, write_core_s_per_gb=50))
    assert found.job.beside_core_s == pytest.approx(0, abs=1e-9)
    assert found.job.write_core_s_per_gb * 0.05 == pytest.approx(2 * 0.01 / 4)
    assert found.job.audit_s == KNOWN.audit_s, "none was made"


def test_drawn_images_are_a_source():
    source = DrawnSource(REFS.empty_table())
    assert source.schema == REFS
    assert list(source.refs()) == REFS.empty_table().to_batches()


def test_what_is_made_to_measure_is_gone_on_disks_and_in_buckets(store: ProxiedBucket, tmp_path):
    for place in (str(tmp_path / "not there" / "features"), f"s3://{store.bucket}/features"):
        with temporary(Folder(place)) as root:
            root.require_writable()
            root.create("runs/000001/run.json", b"1")
            assert list(root.names("runs")) == ["000001"]
        assert (list(tmp_path.iterdir()), store.keys()) == ([], [])


def test_what_may_not_be_deleted_is_named_and_costs_no_measurement(store: ProxiedBucket, capsys):
    store.proxy.install(Answer(403, "AccessDenied", operation="DeleteObjects?"))
    with temporary(Folder(f"s3://{store.bucket}/features")) as root:
        root.create("runs/000001/run.json", b"1")
    assert f"stays in {root.uri}, delete it" in capsys.readouterr().err
    assert len(store.keys()) == 1


def test_too_few_images_are_refused():
    with pytest.raises(ConfigError, match=r"needs 4 images, and 0 are to be embedded"):
        measure(None, None, refs=REFS.empty_table(), placement=ON_CPU, known=KNOWN)
