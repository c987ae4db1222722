"""Feature sets to describe."""

from pathlib import Path
from typing import Any

from pipeline.exports.facts import Facts
from tests.small_set import SETTINGS, SmallSet

TINY = "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69"


def two_runs(place: Path | str) -> SmallSet:
    """A set of two sealed runs, the second of which embedded an image again and quarantined another."""
    small = SmallSet(place)
    small.embed([["cats/1.jpg", "cats/2.jpg"]])
    small.embed([["cats/2.jpg", "bad.jpg"]], bad=["bad.jpg"], version="2")
    return small


def facts_of(small: SmallSet, licence: str = "other", **settings: Any) -> Facts:
    """Its facts, with other settings if asked for."""
    facts = Facts.of(small.root, licence)
    if not settings:
        return facts
    record = facts.record.model_copy(update={"settings": {**SETTINGS, **settings}})
    return Facts(facts.uri, record, facts.runs, licence)
