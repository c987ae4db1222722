"""What a URI says, by a parser of our own: few schemes, and nothing in a key means anything.

Libraries below us never see a URI, only what was read here; so none of them follows a chain, imports a protocol or
asks for a host because of a word in a list.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from pipeline import redaction
from pipeline.errors import BadKeyError, UriError

# What people write, and what it is called here.
SCHEMES = {name: name for name in ("file", "s3", "gs", "az", "http", "https")}
SCHEMES.update({"s3a": "s3", "gcs": "gs", "abfs": "az", "abfss": "az"})
WEB_PORTS = {"http": 80, "https": 443}
# S3, Google and Azure name objects with at most so much.
_LONGEST_KEY_BYTES = 1024
_LONGEST_WEB_TARGET_BYTES = 8192
_SHOWN_CHARACTERS = 200

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+._-]*):")
# Controls, marks that turn the direction of writing, and line ends: they break logs and fool whoever reads them.
_UNREADABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# How Python spells bytes of local names that are not UTF-8.
_ODD_BYTES = re.compile("[\udc80-\udcff]")
_CHAIN = re.compile(r"::[A-Za-z][A-Za-z0-9+._-]*:(//|:)")
_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,255}")
_CONTAINER = re.compile(r"[A-Za-z0-9$-]{1,63}(@[a-z0-9]{3,24}\.(dfs|blob)\.core\.windows\.net)?")
_HOST = re.compile(r"(?P<name>[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_])?|\[[0-9a-f:.]+\])\.?(:(?P<port>[0-9]{1,5}))?")
# What leads up for a store that takes a key for a path, and for a web server.
_UP = re.compile(r"(^|/)\.\.(/|$)")
_UP_ON_THE_WEB = re.compile(r"(^|[/\\]|%2f|%5c)(\.|%2e){2}($|[/\\]|%2f|%5c)", re.IGNORECASE)


@dataclass(frozen=True)
class Place:
    """Where something is.

    Attributes:
        scheme: `file`, `s3`, `gs`, `az`, `http` or `https`.
        authority: the bucket, the container, or `host:port`; empty for files.
        key: the key of an object, the path of a file as it was given, or a web page's path and query.
    """

    scheme: str
    authority: str
    key: str

    @property
    def is_local(self) -> bool:
        """Whether it is a file that this machine's disks may have."""
        return self.scheme == "file"

    @property
    def is_web(self) -> bool:
        """Whether it is read by HTTP."""
        return self.scheme in WEB_PORTS

    @property
    def path(self) -> str:
        """The absolute path of a file."""
        return str(Path(self.key).expanduser().absolute())

    @property
    def leads_up(self) -> bool:
        """Whether a part of the key would lead out of its folder, if somebody below us took it for a path."""
        if self.is_web:
            return _UP_ON_THE_WEB.search(self.key.partition("?")[0]) is not None
        return _UP.search(self.key) is not None

    @property
    def host_and_port(self) -> tuple[str, int]:
        """Of a web page; an IPv6 address without its brackets."""
        host, _, port = self.authority.rpartition(":")
        return host.strip("[]"), int(port)

    def __str__(self) -> str:
        """The URI, in one spelling; a file's is its path."""
        return self.path if self.is_local else f"{self.scheme}://{self.authority}/{self.key}"


def parse(uri: str) -> Place:
    """What a URI or a local path says; opens, imports and asks nothing.

    Raises:
        BadKeyError: it holds characters that break logs, or its key is longer than any store allows.
        UriError: nothing there, a scheme or a form that is not read, or a user name in it.
    """
    if not uri.strip():
        raise UriError("an empty URI names nothing")
    found = _SCHEME.match(uri)
    scheme = SCHEMES.get(found[1].lower()) if found else "file"
    if _UNREADABLE.search(_ODD_BYTES.sub("", uri) if scheme == "file" else uri):
        raise BadKeyError(f"{shown(uri)} holds characters that cannot be shown; rename the file or object")
    if found is None:
        return Place("file", "", uri)
    rest = uri[found.end() :]
    if rest.startswith(":") or (scheme != "file" and _CHAIN.search(uri)):
        raise UriError(f"{shown(uri)}: a URI inside a URI (::) is not read; unpack it and give what is in it")
    if scheme is None:
        raise UriError(
            f"{shown(uri)}: {found[1][:40]}: is no scheme that is read; give a path (a relative one with ./ before it)"
            " or s3://, gs://, az://, and in lists that may have them http:// or https://"
        )
    if not rest.startswith("//"):
        raise UriError(f"{shown(uri)}: write {scheme}://")
    authority, slash, key = rest[2:].partition("/")
    if scheme == "file":
        return _file(uri, authority, slash + key)
    return _web(uri, scheme, rest[2:]) if scheme in WEB_PORTS else _object(uri, scheme, authority, key=key)


def resolved(name: str, base: str) -> str:
    """The URI or path that an entry of a list means, not judged yet; users and passwords in it are left out.

    Args:
        name: as it stands in the list; if it is relative, it lies below the list's own folder. A `~` means nothing.
        base: that folder, a URI or an absolute path.
    """
    if not name.strip() or name.startswith("/") or _SCHEME.match(name):
        return _without_user(name)
    return f"{base.rstrip('/')}/{name}"


def shown(uri: str) -> str:
    """A URI for people: on one line, not too long, and without what is secret in it."""
    text = redaction.shown(redacted(uri))
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


def redacted(uri: str) -> str:
    """A URI whose user, password and, on the web, query are three stars; one with a user stays one to refuse."""
    scheme, _, rest = uri.partition("://")
    if scheme.lower() in WEB_PORTS and "?" in rest:
        return _without_user(f"{uri.partition('?')[0]}?***")
    return _without_user(uri)


def _without_user(uri: str) -> str:
    scheme, mark, rest = uri.partition("://")
    if not mark or _SCHEME.match(uri) is None:
        return uri
    if _CHAIN.search(uri):  # is refused, and may hold several
        return redaction.redacted(uri)
    authority, slash, key = rest.partition("/")
    if "@" in authority and not (scheme.lower() in SCHEMES and _CONTAINER.fullmatch(authority)):
        return f"{scheme}://***@{authority.rpartition('@')[2]}{slash}{key}"
    # A password may hold a slash; what stands before it then is no port.
    is_odd = ":" in authority and _HOST.fullmatch(authority.partition("?")[0].lower()) is None
    return f"{scheme}://***@" if is_odd else uri


def _file(uri: str, authority: str, path: str) -> Place:
    if authority or not path:
        raise UriError(f"{shown(uri)}: files of another machine are not read; write file:///path for one of this")
    return Place("file", "", path)


def _object(uri: str, scheme: str, authority: str, *, key: str) -> Place:
    if not authority:
        raise UriError(f"{shown(uri)} names no bucket; write {scheme}://bucket/prefix")
    if "@" in authority and not _CONTAINER.fullmatch(authority):
        raise UriError(f"{shown(uri)}: no user and password in a URI; give credentials by the environment")
    if not (_CONTAINER if scheme == "az" else _BUCKET).fullmatch(authority):
        raise UriError(f"{shown(uri)}: that is no name of a bucket; write {scheme}://bucket/key")
    if len(key.encode()) > _LONGEST_KEY_BYTES:
        raise BadKeyError(f"{shown(uri)}: a key has {_LONGEST_KEY_BYTES} bytes at most, this one {len(key.encode())}")
    return Place(scheme, authority, key)


def _web(uri: str, scheme: str, rest: str) -> Place:
    authority, target = re.fullmatch(r"([^/?#]*)([^#]*)(?:#.*)?", rest).groups()  # type: ignore[union-attr]
    if "@" in authority:
        raise UriError(f"{shown(uri)}: no user and password in a URI")
    found = _HOST.fullmatch(authority.lower())
    port = int(found["port"] or WEB_PORTS[scheme]) if found else 0
    if found is None or not 0 < port < 2**16:
        raise UriError(f"{shown(uri)}: that is no name of a host; write {scheme}://host/path, in ASCII")
    if len(target.encode()) > _LONGEST_WEB_TARGET_BYTES:
        raise BadKeyError(f"{shown(uri)}: longer than {_LONGEST_WEB_TARGET_BYTES} bytes")
    return Place(scheme, f"{found['name']}:{port}", target.removeprefix("/"))
