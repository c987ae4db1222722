"""What can be found wrong with a command before torch and ray are loaded, which takes seconds."""

import os
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

from pipeline.config import JobConfig
from pipeline.errors import ConfigError
from pipeline.featureset import catalog
from pipeline.sources.opening import open_source
from pipeline.storage.folder import Folder


def check_places(config: JobConfig, *, writes: bool = True) -> None:
    """Looks whether the source is there and a new feature set could be written where it is to go.

    Args:
        config: of the command.
        writes: whether the command writes; if not, an object store is not tried, which would leave an object there.

    Raises:
        ConfigError: the source is not there, the sink is of a kind that cannot be written or would be lost, or a
            package is missing.
        SinkError, AccessDeniedError: the sink cannot be written.
    """
    if config.preprocess.kind == "tiles" and find_spec("pyvips") is None:
        raise ConfigError("preprocess=tiles needs libvips: pip install 'sam2-embed[tiles]'")
    _refuse_lost_sink(config.sink.uri)
    patience_s = config.execution.patience_s
    root = Folder(config.sink.uri, patience_s)
    open_source(**asdict(config.source), patience_s=patience_s)
    if catalog.feature_set_record(root) is None and (writes or root.is_local):
        root.require_writable()


def _refuse_lost_sink(uri: str) -> None:
    """A submitted job runs in a copy of its working directory that Ray throws away; nothing may be written there."""
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ and "://" not in uri and not Path(uri).is_absolute():
        raise ConfigError(
            f"sink.uri={uri} is relative, and a submitted job's working directory is deleted with the job: "
            "give an absolute path on storage that every node sees"
        )
