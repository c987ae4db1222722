"""What a list from outside may name: only what lies below the roots that the operator gave.

A file is judged by where it really is once it is held open, so no link and no swap of folders leads out.
"""

import os
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_network

from pipeline.errors import ConfigError, UriError
from pipeline.storage.uri import WEB_PORTS, Place, parse, shown

_ANY_HOST = {f"{scheme}://": scheme for scheme in WEB_PORTS}


@dataclass(frozen=True)
class Roots:
    """The roots of an untrusted list; plain and small, so that it goes to every worker.

    Args:
        allowed: local folders, `s3://bucket/prefix`, `gs://...`, `az://...`, `https://host/prefix`, and `https://`
            or `http://` for every public host at its usual port.
        http_networks: private networks whose web servers may be asked too, such as `10.1.0.0/16`.

    Raises:
        ConfigError: one of them is no root, or no network.
    """

    allowed: tuple[str, ...]
    http_networks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # Relative folders are those of the process that begins, not of each worker.
        spelled = tuple(root if root in _ANY_HOST else str(parse(root)) for root in self.allowed)
        object.__setattr__(self, "allowed", spelled)
        for place in self._places:
            if place.leads_up:
                raise UriError(f"root {shown(str(place))} leads up (..); write the folder that it leads to")
        try:
            _ = self.networks
        except ValueError as error:
            raise ConfigError(f"source.http_networks: {error}; write networks such as 10.1.0.0/16") from None

    @cached_property
    def networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The private networks that may be asked."""
        return tuple(map(ip_network, self.http_networks))

    @cached_property
    def _places(self) -> tuple[Place, ...]:
        return tuple(parse(root) for root in self.allowed if root not in _ANY_HOST)

    def check(self, uri: str) -> Place:
        """The place that a URI names, if a list may name it; a file's has to be looked at again once it is open.

        Raises:
            BadKeyError, UriError: it may not.
        """
        place = parse(uri)
        if place.is_local:
            if not place.key.startswith("/"):
                raise UriError(f"{shown(uri)} is relative, and to nothing that is known here; give its whole path")
            self.check_file(os.path.normpath(place.key), uri)
            return place
        if place.leads_up:
            raise UriError(f"{shown(uri)}: .. leads nowhere in a bucket or on the web; spell the name out")
        if not (self._allows_host(place) or any(_holds(root, place) for root in self._places)):
            raise UriError(self._refusal(uri))
        return place

    def check_file(self, path: str, uri: str) -> None:
        """Looks whether an absolute path without links or `..` is below a local root.

        Raises:
            UriError: it is not.
        """
        given = [place.path for place in self._places if place.is_local]
        if not any(_is_below(path, folder) for each in given for folder in (each, os.path.realpath(each))):
            raise UriError(self._refusal(uri))

    def _allows_host(self, place: Place) -> bool:
        """Whether every web server at this port is allowed."""
        return f"{place.scheme}://" in self.allowed and place.host_and_port[1] == WEB_PORTS[place.scheme]

    def _refusal(self, uri: str) -> str:
        allowed = ", ".join(map(shown, self.allowed)) or "nothing"
        return f"{shown(uri)} is below no root that this source may read; source.roots allows {allowed}"


def _holds(root: Place, place: Place) -> bool:
    """Whether an object or a web page is below a root."""
    return (root.scheme, root.authority) == (place.scheme, place.authority) and _is_below(place.key, root.key)


def _is_below(key: str, prefix: str) -> bool:
    """Whether one name is another, or has it as a folder: `a` is above `a/b`, and not above `ab`."""
    folder = prefix if prefix.endswith("/") or not prefix else f"{prefix}/"
    return key == prefix or key.startswith(folder)
