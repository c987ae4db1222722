"""Where this machine keeps what can be had again: fetched checkpoints, and the indexes of archives."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """$SAM2_EMBED_CACHE, or `sam2-embed` in the user's cache folder."""
    chosen = os.environ.get("SAM2_EMBED_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sam2-embed"
