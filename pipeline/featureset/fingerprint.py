"""The fingerprint of everything that can change a number; sets with different fingerprints never mix.

What only changes speed (device, number of encoders, unit and batch size) is left out on purpose.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

# Raised by hand with every change of code that can move a feature by more than rounding.
CODE_VERSION = 1


def fingerprint(settings: Mapping[str, Any]) -> str:
    """The sha256 of the canonical JSON of `settings`."""
    return hashlib.sha256(_canonical(settings).encode()).hexdigest()


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """One line per field that differs, as `field: old -> new`; 1 and 1.0 differ, as they do in the fingerprint."""
    before, after = dict(_flat(old)), dict(_flat(new))
    absent = "(absent)"
    return [
        f"{field}: {before.get(field, absent)} -> {after.get(field, absent)}"
        for field in sorted(before.keys() | after.keys())
        if _canonical(before.get(field, absent)) != _canonical(after.get(field, absent))
    ]


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
