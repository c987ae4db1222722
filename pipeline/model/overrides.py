"""Overrides of a model file, moved to where the encoder lies in that file.

Users write them relative to the encoder (`neck.fuse_type=avg`) or with the published prefix
(`model.image_encoder.neck.fuse_type=avg`); both work on our files and on published ones.
"""

import re
from collections.abc import Sequence

from pipeline.errors import ConfigError
from pipeline.model.arguments import arguments_at, describe_unknown
from pipeline.model.targets import PLACES

PREFIXES = ("model.image_encoder", "image_encoder")
_OVERRIDE = re.compile(r"(?P<mark>\+\+|\+|~)?(?P<key>[^=]+)(?P<value>=.*)?", re.DOTALL)


def place_overrides(overrides: Sequence[str], *, encoder_at: str, root_keys: Sequence[str]) -> list[str]:
    """Rewrite overrides so that Hydra finds the encoder's keys where they lie in the file.

    Args:
        overrides: in Hydra's grammar, relative to the encoder or with the published prefix.
        encoder_at: where the encoder lies in the file; empty for the root.
        root_keys: the keys at the root of the file.

    Returns:
        The overrides, in the same order. Those of a whole argument hold whether or not the file spells it out,
        because the class has it either way.

    Raises:
        ConfigError: an override that is not one, touches Hydra or a config group, or names an unknown
            argument.
    """
    return [_place_override(line, encoder_at, root_keys) for line in overrides]


def _place_override(line: str, encoder_at: str, root_keys: Sequence[str]) -> str:
    match = _OVERRIDE.fullmatch(line.strip())
    if match is None or (match["value"] is None and match["mark"] != "~"):
        raise ConfigError(f"override {line!r} is not of the form key=value")
    mark, key, value = match["mark"] or "", match["key"].strip(), match["value"] or ""
    if "/" in key or "@" in key or key.partition(".")[0] in ("hydra", "defaults"):
        raise ConfigError(f"override {line!r} touches Hydra or a config group; only keys of the model may be changed")
    relative = _relative_key(key, root_keys)
    if relative is None:
        if not encoder_at:
            raise ConfigError(f"override {line!r} is outside the image encoder, and the model file holds nothing else")
        return mark + key + value
    if _check_argument(relative, line) and mark != "~":
        mark = "++"
    return f"{mark}{encoder_at}.{relative}{value}" if encoder_at else f"{mark}{relative}{value}"


def _relative_key(key: str, root_keys: Sequence[str]) -> str | None:
    """The key relative to the encoder; None for a key of another section of a full-model file."""
    for prefix in PREFIXES:
        if key.startswith(f"{prefix}."):
            return key.removeprefix(f"{prefix}.")
    first = key.partition(".")[0]
    is_of_encoder = first in arguments_at("")
    return None if not is_of_encoder and (first in root_keys or first == "model") else key


def _check_argument(relative: str, line: str) -> bool:
    """Refuse names the classes do not know; return whether the key is a whole argument."""
    place, _, name = relative.rpartition(".")
    while place and place not in PLACES:
        place, _, name = place.rpartition(".")
    if name.startswith("_"):
        return False
    if name not in arguments_at(place):
        raise ConfigError(f"override {line!r}: {describe_unknown(place, name)}")
    return relative == (f"{place}.{name}" if place else name)
