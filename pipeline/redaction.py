r"""What may be shown of a text that holds URIs, ids, or words of somebody else: no secret and no control character.

A secret is taken out as `***` wherever it is known by its form (user-info, signatures, tokens, access keys) or by its
value (what this process's environment has under a secret's name). Control characters are spelled as Python spells
them, so that a file's name can neither begin a line of a log nor speak to a terminal.
"""

import os
import re

GONE = "***"

_NAMES = (
    r"x-(?:amz|goog)-(?:signature|credential|security-token)|signature|credential|sig|googleaccessid"
    r"|secret(?:[-_]?(?:access[-_]?)?key)?|(?:[a-z]+[-_])*token|pass(?:word|wd)?|pwd|api[-_]?key"
    r"|(?:aws)?access[-_]?key(?:[-_]?id)?|account[-_]?key|key-pair-id"
)
_FORMS = (
    # User-info, which Azure's container is not; a password may hold slashes, but then what begins it is no port.
    (re.compile(r"(?<=://)(?![\w$-]+@\w+\.(?:dfs|blob)\.core\.)[^\s/@'\"<>]*@"), f"{GONE}@"),
    (re.compile(r"(?<=://)[^\s/@:'\"<>]+:(?!\d+/)[^\s@'\"<>]*@"), f"{GONE}@"),
    # What a web server takes after the question mark may be named anything; to an object store it is part of a key.
    (re.compile(r"(?i)(https?://[^\s?'\"<>]*\?)[^\s'\"<>)\]]*[^\s'\"<>)\].,:;]"), rf"\1{GONE}"),
    (re.compile(rf"(?i)(?<![a-z0-9-])({_NAMES})(\s?=\s?['\"]?|['\"]\s?:\s?['\"])[^\s&;,'\"<>)\]]+"), rf"\1\2{GONE}"),
    (re.compile(r"(?i)\b(x-(?:amz|goog)-[a-z-]+|authorization)(['\"]?\s?:\s?['\"]?)[^\s'\"]+"), rf"\1\2{GONE}"),
    (re.compile(rf"(?i)<({_NAMES})>[^<]*"), rf"<\1>{GONE}"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[a-z0-9+/=._~-]{8,}"), rf"\1 {GONE}"),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}"), GONE),
)
_NAME_OF_SECRET = re.compile(
    r"SECRET|TOKEN|PASSWORD|PASSWD|CREDENTIAL|ACCESS_KEY|ACCOUNT_KEY|API_KEY|_SAS|CONNECTION_STRING"
)
_NAME_OF_PATH = re.compile(r"_(FILE|PATH|DIR|DIRECTORY)$|^GOOGLE_APPLICATION_CREDENTIALS$")
_LEAST_LENGTH = 8


def shown(text: object) -> str:
    """One line that may be printed, logged or written: `escaped` and `redacted`."""
    return escaped(redacted(str(text)))


def redacted(text: str) -> str:
    """The text with every secret that can be told as `***`; what has none is itself."""
    for secret in _secrets_here():
        text = text.replace(secret, GONE)
    for form, instead in _FORMS:
        text = form.sub(instead, text)
    return text


def escaped(text: str) -> str:
    r"""The text with what does not print (control characters, line ends, changes of direction) spelled as `\x1b`."""
    return text if text.isprintable() else "".join(each if each.isprintable() else _spelled(each) for each in text)


def _secrets_here() -> list[str]:
    """Values of this process's environment that are secrets by their names, the longest first; paths are none."""
    names = (name for name in os.environ if _NAME_OF_SECRET.search(name) and not _NAME_OF_PATH.search(name))
    found = (os.environ.get(name, "") for name in names)
    return sorted((value for value in found if len(value) >= _LEAST_LENGTH), key=len, reverse=True)


def _spelled(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
