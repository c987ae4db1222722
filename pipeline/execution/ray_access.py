"""Who may use a Ray: one of our own asks for a token; of another that asks for none we stay away.

Whoever reaches the ports of a Ray that asks for no token runs code in it, and they are open to every network. An
address is of this machine alone if it says so in numbers or as `localhost`; what another name leads to may change.
"""

import os
import secrets
import sys
from ipaddress import ip_address
from urllib.parse import urlsplit

from pipeline.errors import ConfigError
from pipeline.redaction import redacted

_MODE, _TOKEN, _TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"


def own_address(given: str | None) -> str | None:
    """Where Ray is: as given, else `RAY_ADDRESS`; None for one of our own."""
    address = given or os.environ.get("RAY_ADDRESS") or "local"
    return None if address == "local" else address


def give_token() -> None:
    """Makes a Ray that this process starts ask for a token, whatever is set; one of its own if none is set.

    Ray itself would write one to ~/.ray/auth_token, for every user of the machine to read.
    """
    os.environ.pop(_MODE, None)  # a local Ray then switches authentication on by itself
    if not (os.environ.get(_TOKEN) or os.environ.get(_TOKEN_PATH)):
        os.environ[_TOKEN] = secrets.token_hex(32)


def require_token(address: str) -> None:
    """Refuses a Ray that asks for no token and that others may reach.

    Raises:
        ConfigError: calls to it would carry no token, and the address is not of this machine alone.
    """
    if os.environ.get(_MODE, "").lower() == "token" or _is_loopback(address):
        return
    raise ConfigError(
        f"the Ray at {address} would be used without authentication ({_MODE} is "
        f"{os.environ.get(_MODE) or 'not set'}): whoever reaches it runs code in it, as you. Set {_MODE}=token, with "
        f"the cluster's token in {_TOKEN} or {_TOKEN_PATH}; or execution.allow_unauthenticated_ray=true if nobody else "
        "reaches its ports"
    )


def require_clean_command() -> None:
    """Refuses to join a Ray of others with a secret in the command line, which Ray shows with the job for ever.

    Raises:
        ConfigError: the command line holds a secret.
    """
    found = next((each for each in sys.argv[1:] if redacted(each) != each), None)
    if found is not None:
        raise ConfigError(
            f"{found}: Ray shows a job's command line to whoever may use the cluster, and this one holds a secret; "
            "fetch the file first and give its path, or let the store's own credentials open it"
        )


def _is_loopback(address: str) -> bool:
    try:
        host = urlsplit(address if "://" in address else f"//{address}").hostname or ""
        if host == "localhost":
            return True
        found = ip_address(host)
    except ValueError:
        return False
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback
