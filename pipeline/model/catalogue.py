"""Which models exist: the files of `configs/model`, and how a name or a path becomes one of them."""

from difflib import get_close_matches
from pathlib import Path

import pipeline
from pipeline.errors import ConfigError


def model_names() -> list[str]:
    """The names of the shipped models, sorted."""
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def find_model_file(config: str | Path) -> Path:
    """Turn a model's name or the path of a YAML file into the file.

    What ends in `.yaml` or `.yml`, contains a slash or is a file is a path; anything else is a name.

    Raises:
        ConfigError: no such model, or no such file.
    """
    text = str(config)
    is_path = isinstance(config, Path) or text.endswith((".yaml", ".yml")) or "/" in text or _is_file(Path(text))
    choices = ", ".join(model_names())
    if is_path:
        path = Path(text).expanduser().absolute()
        if not _is_file(path):
            raise ConfigError(f"there is no model file {path}; give the path of a SAM 2 YAML, or one of {choices}")
        return path
    if text not in model_names():
        near = get_close_matches(text, model_names(), n=1)
        hint = f"did you mean {near[0]}? Choose" if near else "choose"
        raise ConfigError(f"unknown model {text!r}; {hint} one of {choices}, or the path of a SAM 2 YAML")
    return _folder() / f"{text}.yaml"


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that no file can have, or a folder that may not be looked into
        return False


def _folder() -> Path:
    package = Path(pipeline.__file__).parent
    installed = package / "configs"
    return (installed if installed.is_dir() else package.parent / "configs") / "model"
