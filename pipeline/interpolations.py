"""Which `${...}` a configuration may hold: the names of other keys, and none that call a resolver.

`${oc.env:NAME}` would put a secret into records and messages, `${oc.create:...}` a class into a tree that has been
checked. The list of resolvers that are allowed is empty, so what is looked for is a call of any.
"""

from collections.abc import Iterator
from typing import Any

from pipeline.errors import ConfigError


def refuse_resolvers(node: Any, where: str) -> None:
    """Refuse text that calls a resolver, in values and keys at any depth; nothing is resolved to find out.

    Args:
        node: plain, with its interpolations unresolved.
        where: what to call its place in the error.

    Raises:
        ConfigError: the first such text; an escaped one is refused too, since a second look would resolve it.
    """
    for text in interpolations(node):
        if ":" in text.partition("${")[2]:
            raise ConfigError(
                f"{text!r} in {where} calls a resolver, which a configuration must not; write the value out"
            )


def interpolations(node: Any) -> Iterator[str]:
    """Every text in a plain tree, keys included, that holds an interpolation."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from interpolations(key)
            yield from interpolations(value)
    elif isinstance(node, (list, tuple)):
        for item in node:
            yield from interpolations(item)
    elif isinstance(node, str) and "${" in node:
        yield node
