"""Bytes, seconds and dollars as people read them."""

from collections.abc import Sequence

_SIZES = ("B", "kB", "MB", "GB", "TB", "PB")


def size_text(size_bytes: float) -> str:
    """Bytes in units of a thousand, with three figures that count."""
    value = float(size_bytes)
    for unit in _SIZES:
        if abs(value) < 999.5 or unit == _SIZES[-1]:
            return f"{value:,.0f} {unit}" if unit == "B" or value >= 99.95 else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError("unreachable")


def time_text(seconds: float) -> str:
    """Seconds, minutes, hours or days."""
    for most, size, unit in ((120, 1, "s"), (7_200, 60, "min"), (172_800, 3_600, "h")):
        if seconds < most:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:,.1f} days"


def dollar_text(dollars: float) -> str:
    """Dollars, with cents where they count."""
    return (
        f"${dollars:,.0f}" if dollars >= 100 else f"${dollars:.2f}" if dollars >= 0.01 or not dollars else "under $0.01"
    )


def counted(count: int, noun: str) -> str:
    """A number of things."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def rate_text(a_second: float) -> str:
    """A number a second, with three figures that count."""
    return f"{a_second:,.0f}" if a_second >= 100 else f"{a_second:.3g}"


def table_lines(rows: Sequence[tuple[str, ...]], aligned: str) -> list[str]:
    """The rows in columns, each to the left (<) or to the right (>)."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "   ".join(f"{cell:{side}{width}}" for cell, side, width in zip(row, aligned, widths, strict=True)).rstrip()
        for row in rows
    ]
