"""Videos from command to masks: frames are embedded, bad videos quarantined, and SAM 2 tracks with what is stored."""

from pathlib import Path

import pytest

import pipeline
from tests.parity.whole_model import save_whole_model
from tests.readers.in_sam2 import require_sam2, said_by
from tests.videos import make_video

pytestmark = pytest.mark.cluster


def test_sam_2_tracks_with_stored_frames_as_with_the_video(start_on_head, tmp_path: Path):
    checkpoint = save_whole_model(tmp_path / "model.pt", "hiera_debug")
    clips, sink = tmp_path / "clips", tmp_path / "features"
    clips.mkdir()
    (clips / "a.mp4").write_bytes(make_video())
    (clips / "b.webm").write_bytes(make_video("vp9", 12))
    (clips / "broken.mov").write_bytes(make_video("mpeg-2")[:900])
    job = start_on_head(
        *("source=video", f"source.uri={clips}", "source.every=8", f"sink.uri={sink}", "features=decoder"),
        *("model=hiera_debug", f"model.checkpoint={checkpoint}", "features.storage_dtype=float32"),
        *("execution.precision=fp32", "run.audit_images=0", "execution.images_per_unit=3"),
    ).finish()
    assert job.code == 0, str(job)
    assert "7 planned = 6 embedded + 1 quarantined (1 DamagedVideo)" in job.out, str(job)
    features = pipeline.open_features(sink)
    assert features.frames("a.mp4").timestamps_s == pytest.approx([0, 0.32, 0.64, 0.96])
    assert features.frames("b.webm").image_ids == ["b.webm#frame=0", "b.webm#frame=8"]
    assert [row["image_id"] for row in features.quarantine.to_pylist()] == ["broken.mov"]

    require_sam2()
    said = said_by("sam2_video_predictor.py", checkpoint, sink, "a.mp4", clips / "a.mp4", cwd=tmp_path)
    assert said["unexpected"] == []
    assert len(said["errors"]) == 8, "four frames, there and back"
    assert max(said["errors"]) < 1e-4, said
    assert min(said["spreads"]) > 0.01, "they are masks, and not one constant"
