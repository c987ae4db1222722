"""The account of an encoder: every moment once, by the most telling thing that goes on, and nothing left over."""

import random

import pytest

from pipeline.observability.accounting import ACTIVITIES, PAUSES, Accounts, Ledger, Made


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(clock: Clock) -> Ledger:
    """Of an encoder that took four seconds to be there."""
    ledger = Ledger(clock)
    clock.pass_by(4)
    ledger.ready()
    return ledger


def told(ledger: Ledger) -> dict[str, float]:
    """The causes that took any time."""
    return {cause: seconds for cause, seconds in ledger.account()["account"].items() if seconds}


def test_of_two_things_at_once_the_first_in_order_counts(clock: Clock, ledger: Ledger):
    with ledger.activity("commit"):
        clock.pass_by(1)
        with ledger.activity("serialise"):
            clock.pass_by(2)
            with ledger.activity("compute"):
                clock.pass_by(3)
            with ledger.activity("upload"):
                clock.pass_by(5)
    assert told(ledger) == {"start": 4, "commit": 1, "serialise": 2, "compute": 3, "upload": 5}


def test_a_pause_counts_as_what_the_next_unit_was_waiting_for(clock: Clock, ledger: Ledger):
    clock.pass_by(10)
    now = clock.now
    ledger.arrived(Made(began=now - 12, fetched=now - 6, decoded=now - 1))
    assert told(ledger) == {"start": 4, "fetch": 4, "decode": 5, "wait": 1}


def test_a_unit_that_was_ready_in_time_explains_nothing(clock: Clock, ledger: Ledger):
    with ledger.activity("compute"):
        clock.pass_by(5)
        ledger.arrived(Made(began=clock.now - 4, fetched=clock.now - 3, decoded=clock.now))
    clock.pass_by(2)
    ledger.arrived(Made(began=990, fetched=991, decoded=992))
    assert told(ledger) == {"start": 4, "compute": 5, "wait": 2}


def test_a_clock_that_is_set_back_makes_no_time_negative(clock: Clock, ledger: Ledger):
    with ledger.activity("compute"):
        clock.pass_by(-50)
    ledger.arrived(Made(began=0, fetched=0, decoded=0))
    assert told(ledger) == {"start": 4}


@pytest.mark.parametrize("seed", range(5))
def test_causes_add_up_to_the_whole_whatever_happens(clock: Clock, seed: int):
    chance = random.Random(seed)
    ledger, accounts = Ledger(clock), Accounts(clock.now - 3)
    clock.pass_by(chance.random())
    ledger.ready()
    going_on = []
    for _ in range(300):
        clock.pass_by(chance.random())
        what = chance.choice(["begin", "end", "arrive"])
        if what == "begin":
            going_on.append(ledger.activity(chance.choice(ACTIVITIES)))
            going_on[-1].__enter__()
        elif what == "end" and going_on:
            going_on.pop(chance.randrange(len(going_on))).__exit__(None, None, None)
        elif what == "arrive":
            fetched = clock.now - chance.random()
            ledger.arrived(Made(fetched - chance.random(), fetched, fetched + chance.random()))
        accounts.add("one", ledger.account())
    clock.pass_by(2)
    seconds = accounts.seconds(clock.now)
    assert seconds.keys() == {*ACTIVITIES, *PAUSES}
    assert sum(seconds.values()) == pytest.approx(clock.now - 997), seed
    assert seconds["end"] >= 2
    assert seconds["start"] >= 3
    assert min(seconds.values()) >= 0


def test_the_last_account_of_each_encoder_counts(clock: Clock, ledger: Ledger):
    accounts = Accounts(clock.now - 4)
    with ledger.activity("compute"):
        clock.pass_by(1)
    early = ledger.account()
    with ledger.activity("compute"):
        clock.pass_by(1)
    accounts.add("one", ledger.account())
    accounts.add("one", early)
    accounts.add("two", early)
    assert accounts.num_encoders == 2
    seconds = accounts.seconds(clock.now)
    assert next(iter(seconds)) == "start"
    assert (seconds["compute"], seconds["start"], seconds["end"]) == (3, 8, 1)
    assert accounts.seconds() == {**seconds, "end": 0}, "what encoders have told of, before the end is known"


def test_a_turn_keeps_what_was_and_asks_nothing_of_encoders_that_have_ended(clock: Clock):
    accounts = Accounts(clock.now)
    for _ in range(3):
        first, began = Ledger(clock), clock.now
        clock.pass_by(1)
        first.ready()
        with first.activity("compute"):
            clock.pass_by(2)
        accounts.add(f"at {began}", first.account())
        clock.pass_by(1)
        accounts.turn(clock.now)
    whole = {"compute": 6, "start": 3, "end": 3}
    assert {cause: seconds for cause, seconds in accounts.seconds().items() if seconds} == whole
    assert accounts.seconds(clock.now + 100) == accounts.seconds(), "what has ended goes on no longer"


def test_an_encoder_that_took_the_place_of_a_dead_one_leaves_the_sum_whole(clock: Clock):
    accounts, beside_them = Accounts(clock.now), Ledger(clock)
    for name in ("dead", "its successor"):
        ledger = Ledger(clock)
        with ledger.activity("compute"):
            clock.pass_by(3)
        accounts.add(name, ledger.account())
        clock.pass_by(2)  # until somebody notices
    seconds = accounts.seconds(clock.now)
    assert (seconds["compute"], seconds["start"], seconds["end"]) == (6, 2, 2)
    assert sum(seconds.values()) == 10
    with beside_them.activity("compute"):
        pass
    accounts.add("beside them", beside_them.account())
    assert sum(accounts.seconds(clock.now).values()) == 20
