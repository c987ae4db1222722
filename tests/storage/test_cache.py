"""The cache of this machine: where it lies."""

from pathlib import Path

import pytest

from pipeline.storage.cache import cache_folder


def test_the_cache_lies_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("SAM2_EMBED_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == Path.home() / ".cache" / "sam2-embed"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "sam2-embed"
    monkeypatch.setenv("SAM2_EMBED_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
