"""Addresses: public ones may be asked, others by the operator's word alone, and odd spellings never."""

from ipaddress import ip_network

import pytest

from pipeline.errors import UriError
from pipeline.storage.addresses import HostNotFoundError, SystemResolver, checked_addresses


class Book:
    """A name service of our own, which counts what it is asked and gives one answer after another."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers, self.num_asked = answers, 0

    def addresses(self, host: str, port: int) -> list[str]:
        """The next answer."""
        assert (host, port) == ("images.example", 443)
        self.num_asked += 1
        return self._answers[min(self.num_asked, len(self._answers)) - 1]


def ask(*answers: list[str], networks: tuple[str, ...] = ()) -> list[str]:
    return checked_addresses("images.example", 443, networks=tuple(map(ip_network, networks)), resolver=Book(*answers))


def test_public_addresses_may_be_asked():
    public = ["93.184.216.34", "8.8.8.8", "2606:4700::1111", "2a00:1450:4001::200e"]
    assert ask(public) == public


PRIVATE = {
    "this": "0.0.0.0",  # noqa: S104  an address to refuse
    "loopback": "127.0.0.1",
    "loopback too": "127.1.2.3",
    "private": "10.1.2.3",
    "private B": "172.16.0.1",
    "private C": "192.168.1.1",
    "shared": "100.64.0.1",
    "metadata": "169.254.169.254",
    "Azure's": "168.63.129.16",
    "Alibaba's": "100.100.100.200",
    "Oracle's": "192.0.0.192",
    "tests": "198.18.0.1",
    "documents": "203.0.113.7",
    "multicast": "224.0.0.1",
    "public multicast": "233.252.0.1",
    "reserved": "240.0.0.1",
    "all": "255.255.255.255",
    "6 unspecified": "::",
    "6 loopback": "::1",
    "6 metadata": "fd00:ec2::254",
    "6 unique local": "fc00::1",
    "6 link": "fe80::1",
    "6 link with zone": "fe80::1%eth0",
    "6 site": "fec0::1",
    "6 multicast": "ff0e::1",
    "6 mapped": "::ffff:127.0.0.1",
    "6 mapped public": "::ffff:8.8.8.8",
    "6 compatible": "::7f00:1",
    "6 to 4": "2002:7f00:1::",
    "6 NAT64": "64:ff9b::7f00:1",
    "6 local NAT64": "64:ff9b:1::7f00:1",
    "6 Teredo": "2001::1",
    "6 documents": "2001:db8::1",
    "6 not given out": "4000::1",
}


@pytest.mark.parametrize("address", PRIVATE.values(), ids=PRIVATE)
def test_no_other_address_is_asked_whoever_gives_it(address: str):
    with pytest.raises(UriError, match=r"is no public address; .* source\.http_networks"):
        ask([address])
    with pytest.raises(UriError, match="is no public address"):
        ask(["8.8.8.8", address])
    with pytest.raises(UriError, match="is no public address"):
        checked_addresses(address, 80, networks=(), resolver=Book([]))


def test_networks_of_the_operators_may_be_asked_and_no_neighbour():
    assert ask(["10.1.2.3", "fd00::1"], networks=("10.1.0.0/16", "fd00::/8")) == ["10.1.2.3", "fd00::1"]
    for neighbour in ("10.2.0.1", "::ffff:10.1.2.3", "fe80::1"):
        with pytest.raises(UriError):
            ask([neighbour], networks=("10.1.0.0/16", "fd00::/8"))


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0x7f.1", "127.1", "0177.0.0.1", "1.2.3.4.5", "a.0x7f"])
def test_an_address_spelled_as_libraries_alone_read_it_is_refused(host: str):
    with pytest.raises(UriError, match="is a number and no address"):
        checked_addresses(host, 80, networks=(ip_network("0.0.0.0/0"),), resolver=SystemResolver())


def test_a_name_of_this_machine_is_found_by_the_system_and_refused():
    assert "127.0.0.1" in SystemResolver().addresses("localhost", 80)
    with pytest.raises(UriError, match=r"localhost is at (127\.0\.0\.1|::1), which is no public address"):
        checked_addresses("localhost", 80, networks=(), resolver=SystemResolver())


def test_a_name_that_nobody_knows_is_told_apart():
    with pytest.raises((HostNotFoundError, ConnectionError)):  # without a network nobody can be asked
        SystemResolver().addresses("nobody.invalid", 80)
    with pytest.raises(UriError, match="no name of a host"):
        SystemResolver().addresses("x" * 64 + ".example", 80)
