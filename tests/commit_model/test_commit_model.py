"""The commit protocol holds in every state that two writers and their faults can reach; broken rules are caught."""

import gc
from collections.abc import Iterator

import pytest

from tests.commit_model.model import Model, explore

DUPLICATE = "a: a unit is visible twice or not at all"
DANGLING = "a: a file is named that is not there"
LOST = "b: an acknowledged commit is lost"
CHANGED = "c: what readers see has changed"
STUCK = "d: a restart without faults does not end the run"

# What each broken rule does, in the fewest steps there are.
BROKEN = {
    "no_token": (
        DANGLING,
        "writer 0 lists the commits",
        "writer 0 writes a shard of unit 0",
        "writer 0 sends, gets no clear answer",
        "late commit of unit 0 lands",
        "writer 0 cannot tell whose it is, writes another shard",
        "clean looks",
        "writer 0 sends, is told ok",
        "clean deletes",
    ),
    "exists_means_mine": (
        LOST,
        "writer 0 lists the commits",
        "writer 0 writes a shard of unit 0",
        "writer 1 lists the commits",
        "writer 0 sends, is told ok",
        "writer 1 writes a shard of unit 0",
        "writer 1 sends, is told exists, takes it for its own",
    ),
    "exists_is_failure": (
        STUCK,
        "writer 0 lists the commits",
        "writer 0 writes a shard of unit 0",
        "writer 0 sends, gets no clear answer",
        "all die, a last writer comes",
        "writer 0 lists the commits",
        "writer 0 writes a shard of unit 0",
        "late commit of unit 0 lands",
        "writer 0 sends, is told exists, fails",
    ),
    "unconditional_write": (
        LOST,
        "writer 0 lists the commits",
        "writer 0 writes a shard of unit 0",
        "writer 1 lists the commits",
        "writer 0 sends, is told ok",
        "writer 1 writes a shard of unit 0",
        "writer 1 sends, is told ok",
    ),
    "unconditional_seal": (
        CHANGED,
        "writer 0 lists the commits",
        "writer 0 writes a shard of unit 0",
        "writer 0 sends, is told ok",
        "writer 0 writes a shard of unit 1",
        "writer 0 sends, is told ok",
        "writer 0 writes the index",
        "writer 0 sends, is told ok",
        "abandon sends, is told ok",
    ),
    "delete_on_unknown": (
        DANGLING,
        "writer 0 lists the commits",
        "writer 0 writes a shard of unit 0",
        "writer 0 sends, gets no clear answer",
        "writer 0 gives up",
        "late commit of unit 0 lands",
    ),
    "clean_deletes_uncommitted": (
        DANGLING,
        "writer 0 lists the commits",
        "writer 0 writes a shard of unit 0",
        "clean looks",
        "writer 0 sends, is told ok",
        "clean deletes",
    ),
    "seal_by_listing": (
        DUPLICATE,
        "writer 0 lists the commits",
        "writer 0 writes a shard of unit 0",
        "writer 0 sends, is told ok",
        "writer 0 writes a shard of unit 1",
        "writer 1 lists the commits",
        "writer 0 sends, is told ok",
        "writer 1 writes a shard of unit 1",
        "writer 0 writes the index",
        "writer 0 sends, is told ok",
    ),
}


@pytest.fixture(autouse=True)
def without_collector() -> Iterator[None]:
    """States hold no cycles, and the collector would go through all of them again and again."""
    gc.disable()
    yield
    gc.enable()


def caught(model: Model) -> tuple[str, ...]:
    found = explore(model)
    return (found.broken, *found.trace)


def test_the_protocol_holds_in_every_state():
    found = explore(Model())
    assert (found.broken, found.trace) == ("", ())
    assert found.states > 300_000
    faults = {"sends, gets no clear answer", "gives up", "starts again", "sends, is told exists, reads what stands"}
    assert found.actions >= {f"writer {who} {fault}" for who in (0, 1) for fault in faults}
    assert found.actions >= {"late commit of unit 1 lands", "late manifest lands", "clean deletes"}
    assert found.actions >= {"abandon sends, is told ok", "all die, a last writer comes"}
    assert found.phases >= {("sealed",) * 3, ("abandoned",) * 3, ("stopped", "sealed", "settle")}


def test_the_protocol_holds_in_states_that_are_otherwise_left_out():
    """Bounced requests that land late, orphans for the clean, an abandoned run's files; within smaller bounds."""
    found = explore(Model(reduced=False, restarts=0, unclear=1))
    assert (found.broken, found.trace) == ("", ())
    assert found.states > 100_000


@pytest.mark.parametrize("reduced", [True, False], ids=["reduced", "whole"])
@pytest.mark.parametrize("variant", BROKEN)
def test_a_broken_rule_is_caught(variant: str, reduced: bool):
    assert caught(Model(variant, reduced=reduced)) == BROKEN[variant]


def test_without_a_token_a_unit_is_visible_twice_even_if_nothing_is_deleted():
    assert caught(Model("no_token", cleans=0)) == (
        DUPLICATE,
        "writer 0 lists the commits",
        "writer 0 writes a shard of unit 0",
        "writer 0 sends, gets no clear answer",
        "late commit of unit 0 lands",
        "writer 0 cannot tell whose it is, writes another shard",
        "writer 0 sends, is told ok",
        "writer 0 writes a shard of unit 1",
        "writer 0 sends, is told ok",
        "writer 0 writes the index",
        "writer 0 sends, is told ok",
    )


def test_every_invariant_catches_something():
    assert {reason for reason, *_ in BROKEN.values()} == {DUPLICATE, DANGLING, LOST, CHANGED, STUCK}
