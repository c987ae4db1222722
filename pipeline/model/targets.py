"""Which classes a model file may name, as one explicit table.

Hydra would import and call anything a file names. Here a `_target_` outside the table is refused by name
before anything is built, and so is every other key that steers Hydra, and all that Hydra would resolve.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from pipeline.errors import ConfigError

IMAGE_ENCODER = "pipeline.model.image_encoder.ImageEncoder"
FPN_NECK = "pipeline.model.fpn.FpnNeck"
HIERA = "pipeline.model.hiera.Hiera"
POSITION_ENCODING = "pipeline.model.position_encoding.PositionEmbeddingSine"

TARGETS = {
    "sam2.modeling.backbones.image_encoder.ImageEncoder": IMAGE_ENCODER,
    "sam2.modeling.backbones.image_encoder.FpnNeck": FPN_NECK,
    "sam2.modeling.backbones.hieradet.Hiera": HIERA,
    "sam2.modeling.position_encoding.PositionEmbeddingSine": POSITION_ENCODING,
    IMAGE_ENCODER: IMAGE_ENCODER,
    FPN_NECK: FPN_NECK,
    HIERA: HIERA,
    POSITION_ENCODING: POSITION_ENCODING,
}

# Where each class belongs in the tree; the encoder's own place is the root.
PLACES = {
    "": IMAGE_ENCODER,
    "trunk": HIERA,
    "neck": FPN_NECK,
    "neck.position_encoding": POSITION_ENCODING,
}


def translate_targets(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Replace every `_target_` in an encoder's tree by our own class path.

    Args:
        tree: plain dicts, lists and values; the root is the image encoder.

    Returns:
        A new tree; `tree` is left as it was.

    Raises:
        ConfigError: a target outside `TARGETS`, another key that steers Hydra, an interpolation, or a class in the
            wrong place.
    """
    translated: dict[str, Any] = _translate(tree, "")
    for place, target in PLACES.items():
        node: Any = translated
        for key in place.split(".") if place else ():
            node = node.get(key) if isinstance(node, dict) else None
        if not isinstance(node, dict) or node.get("_target_") != target:
            found = node.get("_target_") if isinstance(node, dict) else node
            raise ConfigError(f"{place or 'the root'} must be {target}, but its _target_ is {found!r}")
    return translated


def locate(target: str) -> type:
    """The class that a path of the table leads to, which must be the class of exactly that name.

    Raises:
        ConfigError: something else lies there, such as a class of another module under a second name.
    """
    module, _, name = target.rpartition(".")
    found = getattr(import_module(module), name, None)
    actual = f"{found.__module__}.{found.__qualname__}" if isinstance(found, type) else repr(found)
    if target not in PLACES.values() or not isinstance(found, type) or actual != target:
        raise ConfigError(f"_target_ {target!r} leads to {actual}, which is not that class; nothing was built")
    return found


def _translate(node: Any, place: str) -> Any:
    if isinstance(node, list):
        return [_translate(item, f"{place}[{index}]") for index, item in enumerate(node)]
    if not isinstance(node, dict):
        _refuse_interpolation(node, place)
        return node
    translated = {}
    for key, value in node.items():
        _refuse_interpolation(key, place)
        where = f"{place}.{key}" if place else str(key)
        if key == "_target_":
            translated[key] = _look_up(value, place)
        elif isinstance(key, str) and key.startswith("_") and key.endswith("_"):
            raise ConfigError(f"{where} is not allowed in a model file: of the keys that steer Hydra, only _target_ is")
        else:
            translated[key] = _translate(value, where)
    return translated


def _look_up(target: Any, place: str) -> str:
    known = TARGETS.get(target) if isinstance(target, str) else None
    if known is None:
        raise ConfigError(
            f"_target_ {target!r} at {place or 'the root'} is not allowed; choose one of {', '.join(sorted(TARGETS))}"
        )
    if PLACES.get(place) != known:
        places = " and ".join(name or "the root" for name, owner in PLACES.items() if owner == known)
        raise ConfigError(f"_target_ {target!r} at {place or 'the root'} is in the wrong place; it belongs at {places}")
    return known


def _refuse_interpolation(text: Any, place: str) -> None:
    # A resolved tree has none left but what was put together from pieces; Hydra resolves it once more.
    if isinstance(text, str) and "${" in text:
        raise ConfigError(f"{text!r} at {place or 'the root'} is an interpolation after all were resolved; refused")
