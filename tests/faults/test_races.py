"""Faults of order: requests that come twice, late or at the same time, and processes that die between two."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ConnectionClosedError

from tests.faults.barriers import Barrier
from tests.faults.faults import Answer, Duplicate, Kill, Late, Reset, Unconditional
from tests.faults.proxied import SIGNATURE
from tests.faults.store import s3_client

# A client with nothing to import, whose first PUT is its last if it is killed.
WRITER = """
import http.client, sys
connection = http.client.HTTPConnection(sys.argv[1])
connection.request("PUT", sys.argv[2], b"written", {"Authorization": sys.argv[3]})
try:
    connection.getresponse()
finally:
    print("still alive")
"""


@pytest.mark.parametrize(("answer", "status"), [("first", 200), ("second", 412)])
def test_a_request_delivered_twice(answer, status, store):
    store.proxy.install(Duplicate(answer))
    assert store.put(IfNoneMatch="*") == status
    assert store.proxy.requests[0].stored == [200, 412]


def test_a_store_that_ignores_the_condition(store):
    assert [store.put(IfNoneMatch="*"), store.put(IfNoneMatch="*")] == [200, 412]
    store.proxy.install(Unconditional())
    assert [store.put("l", IfNoneMatch="*"), store.put("l", IfNoneMatch="*")] == [200, 200]


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("whom", ["pid", "sender"])
def test_kills(place, whom, store):
    address = store.proxy.endpoint.removeprefix("http://")
    barrier = store.proxy.install(Barrier())  # until the victim's process id is known here
    command = [sys.executable, "-c", WRITER, address, f"/{store.bucket}/k", SIGNATURE]
    victim = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    fault = store.proxy.install(Kill(victim.pid if whom == "pid" else None, place=place))
    barrier.wait_held()
    store.proxy.clear()
    barrier.release()
    out, _ = victim.communicate(timeout=10)
    assert fault.fired == 1
    assert (victim.returncode, out) == (-9, "")
    assert store.keys() == ([] if place == "before" else ["k"])


def test_a_barrier_lets_two_race_and_one_win(store):
    barrier = store.proxy.install(Barrier(2, operation="PutObject"))
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(store.put, "k", b"1", IfNoneMatch="*")
        barrier.wait_held()
        assert store.keys() == []
        second = pool.submit(store.put, "k", b"2", IfNoneMatch="*")
        assert sorted([first.result(5), second.result(5)]) == [200, 412]
    assert barrier.timed_out == 0
    assert store.body() == (b"1" if first.result() == 200 else b"2")


def test_a_barrier_held_by_the_test(store):
    barrier = store.proxy.install(Barrier(place="after"))
    with ThreadPoolExecutor(1) as pool:
        put = pool.submit(store.put)
        barrier.wait_held()
        assert store.keys() == ["k"]
        assert not put.done()
        barrier.release()
        assert put.result(5) == 200


def test_a_barrier_never_waits_for_ever(store):
    barrier = store.proxy.install(Barrier(2, timeout_s=0.1))
    assert store.put() == 200
    assert (barrier.timed_out, barrier.held) == (1, 0)


def test_a_late_delivery(store):
    late = store.proxy.install(Late(0.3, first=1))
    assert store.put("k", b"first", IfNoneMatch="*") == 503
    assert store.keys() == []
    assert store.put("k", b"second", IfNoneMatch="*") == 200
    assert late.wait() == [412]
    late = store.proxy.install(Late(0.1, status=0, first=1))
    with pytest.raises(ConnectionClosedError):
        store.put("k", b"third")
    assert late.wait() == [200]
    assert store.body() == b"third"


@pytest.mark.parametrize("fault", [Answer, Reset])
@pytest.mark.parametrize(("place", "status"), [("before", 200), ("after", 412)])
def test_a_sweep_finds_the_create_whose_retry_meets_itself(fault, place, status, store):
    patient = s3_client(store.proxy.endpoint, attempts=2)
    for number in (1, 3):
        store.proxy.clear()
        store.proxy.install(fault(mutating=True, at=number, place=place))
        outcomes = [store.put(f"{number}/{each}", client=patient, IfNoneMatch="*") for each in (1, 2, 3)]
        assert outcomes == [status if each == number else 200 for each in (1, 2, 3)]
    assert store.proxy.num_mutating == 8
    assert len(store.keys()) == 6
