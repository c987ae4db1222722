"""Which arguments the classes of a model file take: a wrong name is found before anything is built."""

import inspect
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from types import NoneType, UnionType
from typing import Any, get_args, get_origin

from pipeline.errors import ConfigError
from pipeline.model.targets import PLACES


@cache
def arguments_at(place: str) -> Mapping[str, inspect.Parameter]:
    """The constructor arguments, by name, of the class at a place such as `neck.position_encoding`."""
    module, _, name = PLACES[place].rpartition(".")
    return inspect.signature(getattr(import_module(module), name)).parameters


def describe_unknown(place: str, name: str) -> str:
    """One clause that says that the class at `place` has no argument `name`, and which it has."""
    choices = list(arguments_at(place))
    near = get_close_matches(name, choices, n=1)
    hint = f"did you mean {near[0]!r}? It" if near else "it"
    return f"{PLACES[place].rpartition('.')[2]} has no argument {name!r}; {hint} has {', '.join(choices)}"


def check_arguments(tree: Mapping[str, Any]) -> None:
    """Check that every class of a translated tree gets arguments it has, and all that it needs.

    Raises:
        ConfigError: the first argument that is unknown, missing or of another type, by its place.
    """
    for place in PLACES:
        node: Any = tree
        for key in place.split(".") if place else ():
            node = node[key]
        for name, value in node.items():
            if name != "_target_":
                _check_argument(place, name, value)
        for name, parameter in arguments_at(place).items():
            if parameter.default is inspect.Parameter.empty and name not in node:
                raise ConfigError(f"{_join(place, name)} is missing; {PLACES[place].rpartition('.')[2]} needs it")


def _check_argument(place: str, name: str, value: Any) -> None:
    if name not in arguments_at(place):
        raise ConfigError(f"{_join(place, name)}: {describe_unknown(place, name)}")
    annotation = arguments_at(place)[name].annotation
    if not _fits(value, annotation):
        wanted = getattr(annotation, "__name__", str(annotation)) if isinstance(annotation, type) else annotation
        shown = str(wanted).replace("collections.abc.Sequence", "list")
        raise ConfigError(f"{_join(place, name)}={value!r} is not of the type {shown}")


def _fits(value: Any, annotation: Any) -> bool:
    """Whether a value of a YAML file is what a constructor's annotation asks for."""
    if get_origin(annotation) is UnionType:
        return any(_fits(value, option) for option in get_args(annotation))
    if get_origin(annotation) is Sequence:
        return isinstance(value, list) and all(_fits(item, *get_args(annotation)) for item in value)
    if annotation in (int, float):
        # YAML writes whole floats as integers, and Python counts booleans among them.
        return isinstance(value, (int, annotation)) and not isinstance(value, bool)
    # What is left are modules, which a file describes by a mapping.
    return isinstance(value, annotation if annotation in (bool, str, NoneType) else dict)


def _join(place: str, name: str) -> str:
    return f"{place}.{name}" if place else str(name)
