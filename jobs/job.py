"""What every job does: compose its configuration with Hydra, call one function, turn its errors into an exit code."""

import atexit
import os
import re
import sys
from collections.abc import Callable, Collection
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.errors import ConfigError, PipelineError
from pipeline.execution.stopping import stop_on_sigterm
from pipeline.floors import check_floors
from pipeline.interpolations import refuse_resolvers
from pipeline.observability.logs import log_to_stderr

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
# Paths, URIs and ids, by field or by the last part of it.
_TEXTS = frozenset({"uri", "model.config", "model.checkpoint", "ray_address", "image_id", "image", "output", "sheet"})
_OVERRIDE = re.compile(r"(~(?!hydra\b)[\w.]+(=.*)?|\+{0,2}(?!hydra\b)[\w.]+=.*)", re.DOTALL)
_OF_ENCODER = re.compile(r"[+~]*model\.(?!(?:checkpoint|config)\b)")

Job = Callable[[dict[str, Any], list[str]], None]


def run_job(name: str, job: Job, *, flags: Collection[str] = ()) -> NoReturn:
    """Runs `job` on configs/<name>.yaml with the command line (overrides, and `flags` if any), and ends the process.

    At once: threads that Ray or Arrow left behind can abort an interpreter that is taken down after its work.
    """
    log_to_stderr()
    stop_on_sigterm()
    try:
        code = _exit_code(name, job, flags)
        sys.stdout.flush()
    except Exception as error:  # noqa: BLE001  shown as Python would, and the end of it
        sys.excepthook(type(error), error, error.__traceback__)
        code = 1
    os._exit(code)


def _exit_code(name: str, job: Job, flags: Collection[str]) -> int:
    overrides, code = sys.argv[1:], 0
    if {"-h", "--help"} & set(overrides):
        choices = [f"# choices: {group}={'|'.join(_choices(group))}" for group in _groups(name)]
        print("\n".join([*(path.read_text() for path in _files(name)), *choices]))
        return 0
    try:
        check_floors()
        job(compose_values(name, [each for each in overrides if each not in flags]), overrides)
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        code = error.exit_code
    except KeyboardInterrupt:
        print("interrupted; what is committed stays, run the same command again to continue", file=sys.stderr)
        code = 130
    atexit._run_exitfuncs()  # noqa: SLF001  as multiprocessing ends its processes
    return code


def compose_values(name: str, overrides: list[str]) -> dict[str, Any]:
    """The configuration as plain values, without the encoder's own overrides; `choices` says each group's file.

    Raises:
        ConfigError: an override that names no field (but a group, package or flag of Hydra), or means nothing there.
    """
    if wrong := next((each for each in overrides if not _OVERRIDE.fullmatch(each)), None):
        raise ConfigError(f"{wrong!r} is not an override: write field=value; --help shows the fields")
    refuse_resolvers(overrides, "the command")
    groups = _groups(name)
    own = [_quoted(each) for each in overrides if not ("model" in groups and _OF_ENCODER.match(each))]
    try:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            composed = compose(name, own, return_hydra_config=True)
        choices = {group: composed.hydra.runtime.choices[group] for group in groups}
        ours = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
        values: Any = OmegaConf.to_container(ours, resolve=True)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise ConfigError(_complaint(name, own, error)) from None
    return {**values, "choices": choices}


def model_overrides(overrides: list[str]) -> tuple[str, ...]:
    """The overrides of the encoder itself, as its builder takes them: relative to the encoder, or as SAM 2 has them."""
    found = [override for override in overrides if _OF_ENCODER.match(override)]
    return tuple(re.sub(r"^([+~]*)model\.(?=trunk|neck|scalp)", r"\1", override) for override in found)


def _quoted(override: str) -> str:
    """The override with a path or URI in quotes, so that no character of it means anything to Hydra."""
    field, _, value = override.partition("=")
    if not {field.lstrip("+"), field.rpartition(".")[2]} & _TEXTS or value in ("", "null") or value[0] in "'\"":
        return override
    # Hydra reads a backslash as one unless a quote follows the run of them.
    escaped = re.sub(r'(\\*)("|$)', lambda run: run[1] * 2 + ('\\"' if run[2] else ""), value)
    return f'{field}="{escaped}"'


def _files(name: str) -> list[Path]:
    """The configuration and those it is built on."""
    based = [each for each in _defaults(CONFIGS / f"{name}.yaml") if isinstance(each, str) and each != "_self_"]
    return [CONFIGS / f"{name}.yaml", *(file for each in based for file in _files(each))]


def _groups(name: str) -> list[str]:
    return sorted(group for file in _files(name) for one in _defaults(file) if isinstance(one, dict) for group in one)


def _defaults(file: Path) -> list[Any]:
    values: Any = OmegaConf.to_container(OmegaConf.load(file))
    return list(values.get("defaults", []))


def _choices(group: str) -> list[str]:
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))


def _complaint(name: str, overrides: list[str], error: Exception) -> str:
    """One line instead of Hydra's several; with what was probably meant."""
    text = str(error)
    for override in overrides:
        group, _, choice = override.partition("=")
        if group in _groups(name):
            if choice not in _choices(group):
                return f"{override}: no such {group}; choices: {', '.join(_choices(group))}"
            continue
        field = group.lstrip("+~")
        if f"'{field}'" in text or f"override '{field}" in text:
            return f"{override}: there is no field {field}{_meant(name, field)}; --help shows the fields"
    return " ".join(text.split())


def _meant(name: str, field: str) -> str:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        known = _fields(OmegaConf.to_container(compose(name)))
    if field in known:  # as the groups are chosen by default
        return f" with this choice of {field.partition('.')[0]}"
    return "".join(f"; did you mean {close}" for close in get_close_matches(field, [*known, *_groups(name)], n=1))


def _fields(values: Any, prefix: str = "") -> list[str]:
    if not isinstance(values, dict):
        return [prefix]
    return [field for key, value in values.items() for field in _fields(value, f"{prefix}.{key}".lstrip("."))]
