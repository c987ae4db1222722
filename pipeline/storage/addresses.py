"""Which addresses of the network a list from outside may have us ask: public ones, and the operator's exceptions.

A host is resolved once and what was checked is what is connected to; a second answer would be another one.
"""

import errno
import re
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Protocol

from pipeline.errors import UriError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# Of IPv6 only this part is given out. Within it: tunnels and translations, which may carry a private IPv4 address
# (Teredo and other protocols, 6to4), and addresses for documents. Of IPv4, what `ipaddress` has for public: protocol
# assignments, relays of 6to4, and where Azure's machines ask for their credentials.
_PUBLIC_V6 = IPv6Network("2000::/3")
_NOT_PUBLIC: tuple[Network, ...] = (
    *map(ip_network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")),
    *map(ip_network, ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32", "100.64.0.0/10")),
)
# What C libraries read as an IPv4 address though it is not written as one: 2130706433, 0x7f.1, 127.1.
_NUMERIC = re.compile(r"(.*\.)?(0x[0-9a-f]*|[0-9]+)")


class Resolver(Protocol):
    """Knows where hosts are."""

    def addresses(self, host: str, port: int) -> list[str]:
        """All addresses of a host, the best first.

        Raises:
            HostNotFoundError: it has none.
            ConnectionError: nobody could be asked.
        """
        ...


class HostNotFoundError(OSError):
    """No host of that name, as far as this machine's name service knows."""


class SystemResolver:
    """Asks the operating system; as slow as that lets a name service be."""

    def addresses(self, host: str, port: int) -> list[str]:
        """All addresses of a host."""
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            if error.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)):
                raise HostNotFoundError(errno.ENOENT, f"there is no host {host} ({error.strerror})") from None
            raise ConnectionError(errno.EIO, f"{host} cannot be resolved: {error.strerror}") from error
        except UnicodeError as error:
            raise UriError(f"{host[:80]} is no name of a host ({error})") from None
        return [str(each[4][0]) for each in found]


def checked_addresses(host: str, port: int, *, networks: Sequence[Network], resolver: Resolver) -> list[str]:
    """Where to connect to: all addresses of a host, each of which may be asked.

    Raises:
        UriError: one of them may not, or it is written in a way that means another one to others.
        HostNotFoundError, ConnectionError: see `Resolver`.
    """
    literal = _literal(host)
    found = resolver.addresses(host, port) if literal is None else [literal]
    for each in found:
        if not _may_be_asked(ip_address(each), networks):
            raise UriError(
                f"{host} is at {each}, which is no public address; if it is a server of yours, its network belongs"
                " in source.http_networks"
            )
    return found


def _literal(host: str) -> str | None:
    """A host that is an address already."""
    try:
        return str(ip_address(host))
    except ValueError:
        if _NUMERIC.fullmatch(host):
            raise UriError(f"{host[:80]} is a number and no address; write four numbers with dots") from None
        return None


def _may_be_asked(address: Address, networks: Sequence[Network]) -> bool:
    if any(address in network for network in networks):
        return True
    if any(address in network for network in _NOT_PUBLIC) or address.is_multicast or address.is_reserved:
        return False
    return address.is_global if isinstance(address, IPv4Address) else address in _PUBLIC_V6
