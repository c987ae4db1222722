"""A model file with its overrides, composed by Hydra in a folder that holds nothing else.

Hydra gets a copy of the checked text, so that no defaults list, header or neighbour of the file can reach it.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.version import VersionBase
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.errors import ConfigError
from pipeline.interpolations import refuse_resolvers
from pipeline.model.model_file import check_interpolations, read_model_file
from pipeline.model.overrides import PREFIXES, place_overrides

# Hydra composes through process-wide state.
_COMPOSING = threading.Lock()


def compose_model_file(path: Path, overrides: Sequence[str]) -> DictConfig:
    """The file with its overrides, its interpolations unresolved and none of them a call.

    Args:
        path: of a YAML file, which may come from anybody.
        overrides: in Hydra's grammar, relative to the encoder or with the prefix `model.image_encoder.`.

    Raises:
        ConfigError: as `read_model_file`, no encoder in it, or an override that does not apply.
    """
    text = read_model_file(path)
    refuse_resolvers(list(overrides), "the overrides")
    with _COMPOSING, _composer(text) as config_name:
        try:
            bare = compose(config_name)
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            raise ConfigError(f"{path} is not a model file: {first_line(error)}") from None
        if not overrides:
            return bare
        encoder_at = find_encoder(bare, path)
        placed = place_overrides(overrides, encoder_at=encoder_at, root_keys=[str(key) for key in bare])
        try:
            composed = compose(config_name, placed)
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            raise ConfigError(f"cannot apply {' '.join(overrides)} to {path}: {first_line(error)}") from None
    check_interpolations(OmegaConf.to_container(composed, resolve=False), f"{path} with {' '.join(overrides)}")
    return composed


def find_encoder(composed: DictConfig, path: Path) -> str:
    """Where the encoder lies in a composed file; empty for the root.

    Raises:
        ConfigError: the file has none.
    """
    for place in PREFIXES:
        if OmegaConf.is_dict(OmegaConf.select(composed, place, throw_on_resolution_failure=False)):
            return place
    if "trunk" in composed and "neck" in composed:
        return ""
    keys = ", ".join(str(key) for key in composed) or "nothing"
    raise ConfigError(
        f"{path} has no image encoder: its root has {keys}; it needs model.image_encoder, image_encoder, "
        "or trunk and neck"
    )


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextmanager
def _composer(text: str) -> Iterator[str]:
    """Point Hydra at a file of that text, and give back what a caller (such as `hydra.main`) had set up before."""
    global_hydra, version = GlobalHydra.instance(), VersionBase.instance()
    saved_hydra, saved_version = global_hydra.hydra, version.version_base
    global_hydra.clear()
    try:
        with TemporaryDirectory() as folder:
            (Path(folder) / "model.yaml").write_text(text, encoding="utf-8")
            with initialize_config_dir(folder, version_base="1.3"):
                yield "model"
    finally:
        global_hydra.hydra, version.version_base = saved_hydra, saved_version
        GlobalHydra.set_instance(global_hydra)
