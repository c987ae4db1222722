"""Reads a model file, which may come from anybody: plain YAML within limits, or it is refused.

Tags, aliases and depth are judged on the parser's events, before anything is constructed, and what would steer
Hydra on the text, before Hydra sees it. A published file has 4 kB, 130 nodes and a depth of five.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.errors import ConfigError
from pipeline.interpolations import interpolations, refuse_resolvers

MAX_BYTES = 64 << 10
MAX_NODES = 2000
MAX_DEPTH = 32
# An interpolation may name a node that holds others: with two at every level, 16 make 256 copies.
MAX_INTERPOLATIONS = 16
# What Hydra takes from a file's root for itself: other files, search paths of any package, logging.
_HYDRAS = ("defaults", "hydra")


def read_model_file(path: Path) -> str:
    """The file's data as YAML without comments, headers, anchors or tags.

    Raises:
        ConfigError: it cannot be read, is not YAML of a mapping, is larger than any model file, has tags, steers
            Hydra, or calls a resolver.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ConfigError(f"{path} is not a model file: it has more than {MAX_BYTES} bytes")
        text = data.decode("utf-8-sig")
        _check_events(text, path)
        config = OmegaConf.create(text)
    except (OSError, OmegaConfBaseException, yaml.YAMLError, ValueError) as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ConfigError(f"{path} is not a model file: {reason}") from None
    if not isinstance(config, DictConfig):
        raise ConfigError(f"{path} is not a model file: its root is a list and must be a mapping")
    steering = [key for key in _HYDRAS if key in config]
    if steering:
        raise ConfigError(f"{path} has {steering[0]!r} at its root, which steers Hydra; a model file must not")
    check_interpolations(OmegaConf.to_container(config, resolve=False), str(path))
    return OmegaConf.to_yaml(config)


def check_interpolations(tree: Any, where: str) -> None:
    """Refuse calls of resolvers, and more interpolations than a model file needs.

    Raises:
        ConfigError: with the text that is refused, and `where`.
    """
    refuse_resolvers(tree, where)
    if sum(text.count("${") for text in interpolations(tree)) > MAX_INTERPOLATIONS:
        raise ConfigError(f"{where} has more than {MAX_INTERPOLATIONS} interpolations; write the values out")


def _check_events(text: str, path: Path) -> None:
    """Judge a file by what its parser meets; an alias counts as often as what it stands for."""
    num_nodes = 0
    for depth, size in _nodes(text, path):
        num_nodes += size
        if depth > MAX_DEPTH or num_nodes > MAX_NODES:
            raise ConfigError(
                f"{path} is not a model file: it has more than {MAX_NODES} nodes with its aliases written out, "
                f"or more than {MAX_DEPTH} levels"
            )


def _nodes(text: str, path: Path) -> Iterator[tuple[int, int]]:
    """Every node of a file as its depth and how many nodes it adds: one, or those that an alias stands for."""
    total, began, sizes = 0, list[tuple[str | None, int]](), dict[str | None, int]()
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent)) and event.tag is not None:
            raise ConfigError(f"{path} is not a model file: it has the tag {event.tag}, and tags are refused")
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, before = began.pop()
            sizes[anchor] = total - before
        elif isinstance(event, yaml.NodeEvent):
            # What is not complete yet is being defined by itself.
            size = sizes.get(event.anchor, MAX_NODES + 1) if isinstance(event, yaml.AliasEvent) else 1
            yield len(began), size
            total += size
            if isinstance(event, yaml.CollectionStartEvent):
                began.append((event.anchor, total - 1))
            else:
                sizes[event.anchor] = size
