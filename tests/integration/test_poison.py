"""Images that ruin their decoder, in a whole run: each is found and named, and costs nobody else anything."""

import pytest
from PIL import Image

import pipeline
from tests import poison

TOY = ["model=hiera_debug", "model.checkpoint=random"]

pytestmark = pytest.mark.cluster


def test_poison_is_quarantined_with_its_reason_and_its_neighbours_are_embedded(
    start_locally, expect_features, make_photos, tmp_path
):
    folder, sink = tmp_path / "photos", tmp_path / "features"
    good = make_photos(folder, 12)
    bad = {
        "00002x.jpg": (poison.SEGV, "DecoderCrashed", "SIGSEGV"),
        "00005x.jpg": (poison.HANG, "DecodeTimeout", "2"),
        "00008x.jpg": (poison.EAT, "DecodeMemory", "bytes"),
    }
    for name, (data, _, _) in bad.items():
        (folder / name).write_bytes(data)

    large = {"00003x.png": (1_500, 1_000), "00006x.bmp": (700, 700)}  # 1.5 megapixels; 1.4 MiB
    for name, size in large.items():
        Image.new("RGB", size).save(folder / name)

    plugins = poison.plugin_folder(tmp_path / "plugins")
    limits = ["execution.decode_timeout_s=2", "execution.decode_memory_gib=0.3", "execution.images_per_unit=5"]
    limits += ["execution.decode_max_megapixels=1", "execution.decode_max_mib=1", "preprocess.background=[0,0,0]"]
    done = start_locally(f"source.uri={folder}", f"sink.uri={sink}", *TOY, *limits, PYTHONPATH=str(plugins)).finish()
    assert done.code == 0, str(done)
    expect_features(sink, folder, good)
    features = pipeline.open_features(sink)
    assert features.metadata["settings"]["preprocessing"]["background"] == [0, 0, 0]
    found = {row["image_id"]: row for row in features.quarantine.to_pylist()}
    refused = {name: found.pop(name)["error_type"] for name in large}
    assert refused == {"00003x.png": "ImageTooLarge", "00006x.bmp": "FileTooLarge"}
    assert {name: row["error_type"] for name, row in found.items()} == {
        name: kind for name, (_, kind, _) in bad.items()
    }
    for name, (_, _, said) in bad.items():
        assert said in found[name]["message"], found[name]
        assert (found[name]["stage"], found[name]["error_class"]) == ("decode", "permanent")
    assert "Traceback" not in done.err + done.out, str(done)


def test_a_run_stops_before_it_wastes_a_cluster_and_goes_on_when_more_may_fail(start_locally, make_photos, tmp_path):
    folder, sink = tmp_path / "photos", tmp_path / "features"
    good = make_photos(folder, 6)
    for number in range(6):
        (folder / f"bad-{number}.jpg").write_bytes(b"not an image")
    command = [f"source.uri={folder}", f"sink.uri={sink}", *TOY, "execution.images_per_unit=2"]
    stopped = start_locally(*command, "run.max_failed_share=0.25").finish()
    assert stopped.code == 3, str(stopped)
    assert "NotAnImage" in stopped.err, str(stopped)
    assert "run.max_failed_share=0.25" in stopped.err, str(stopped)
    with pytest.raises(pipeline.PipelineError, match="not sealed"):
        pipeline.open_features(sink, sealed_only=True)

    for number in range(6):
        (folder / f"bad-{number}.jpg").write_bytes((folder / good[number]).read_bytes())
    done = start_locally(*command, "run.max_failed_share=0.25", "run.max_failed_share=1").finish()
    assert done.code == 0, str(done)
    assert "12 planned = 6 embedded + 6 quarantined" in done.out, str(done)
    mended = start_locally(*command, "run.max_failed_share=0.25", "run.retry_quarantined=all").finish()
    assert "6 planned = 6 embedded + 0 quarantined" in mended.out, str(mended)
    assert pipeline.open_features(sink).quarantine.num_rows == 0
