"""Numbers and dates as people read them: signs and arrows beside every colour, a thin unit, no false digits."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence

NONE = "—"
_SCALES = ((1e12, "tn"), (1e9, "bn"), (1e6, "m"), (1e3, "k"))


def percent(ratio: float | None, *, digits: int = 1) -> str:
    """0.021 as 2.1 %."""
    if ratio is None or math.isnan(ratio):
        return NONE
    return f"{_minus(f'{round(ratio * 100, digits) + 0.0:.{digits}f}')} %"


def share(part: int, whole: int) -> str:
    """Per cent of counted things, without the unit: 100 only for all of them."""
    return "100" if part == whole else f"{min(part / whole * 100, 99.99):.4g}"


def move(ratio: float | None, *, digits: int = 1) -> str:
    """0.021 as ▲ +2.1 %, for labels."""
    if ratio is None or math.isnan(ratio):
        return NONE
    shown = round(ratio * 100, digits)
    if shown == 0:
        return f"■ {0:.{digits}f} %"
    return f"{'▲' if shown > 0 else '▼'} {_minus(f'{shown:+.{digits}f}')} %"


def change(ratio: float | None, *, digits: int = 1) -> str:
    """0.021 as `up 2.1 %`, for sentences."""
    if ratio is None or math.isnan(ratio):
        return "with no return"
    if round(ratio * 100, digits) == 0:
        return "unchanged"
    return f"{'up' if ratio > 0 else 'down'} {abs(ratio) * 100:.{digits}f} %"


def price(value: float | None) -> str:
    """Two decimals, four below one."""
    if value is None or math.isnan(value):
        return NONE
    return f"{value:,.4f}" if abs(value) < 1 else f"{value:,.2f}"


def compact(value: float | None, *, unit: str = "") -> str:
    """1234567 as 1.2 m."""
    if value is None or math.isnan(value):
        return NONE
    for scale, name in _SCALES:
        if abs(value) >= scale:
            return f"{unit}{value / scale:.3g} {name}"
    return f"{unit}{value:,.0f}"


def score(value: float | None) -> str:
    """A z-score with its sign."""
    return NONE if value is None or math.isnan(value) else _minus(f"{round(value, 2) + 0.0:+.2f}")


def day(value: dt.date | None, *, has_year: bool = False) -> str:
    """20 Nov, or 20 Nov 2026."""
    if value is None:
        return NONE
    text = f"{value.day} {value:%b}"
    return f"{text} {value.year}" if has_year else text


def moment(value: str | dt.datetime | None) -> str:
    """20 Nov 2026 22:10 UTC, from ISO text or a time."""
    if value is None:
        return NONE
    found = dt.datetime.fromisoformat(value) if isinstance(value, str) else value
    found = found.astimezone(dt.UTC)
    return f"{day(found.date(), has_year=True)} {found:%H:%M} UTC"


def count(number: int, one: str, many: str = "") -> str:
    """1 split, 2 splits."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def rounded(value: float | None, digits: int) -> float | None:
    """A number for a chart; none stays none."""
    return None if value is None or math.isnan(value) else round(value, digits)


def names(found: Sequence[str], *, most: int = 4) -> str:
    """A, B, C, D and 3 more."""
    shown = ", ".join(found[:most])
    return f"{shown} and {len(found) - most} more" if len(found) > most else shown


def _minus(text: str) -> str:
    return text.replace("-", "−")  # noqa: RUF001 - a true minus sign lines up with the plus
