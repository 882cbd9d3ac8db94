"""Colours for both themes, and what stands beside colour.

A test keeps up and down at 5:1 against the backgrounds in `.streamlit/config.toml`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Spec = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours for one background."""

    background: str
    text: str
    muted: str
    grid: str
    up: str
    down: str
    line: str
    accent: str
    series: tuple[str, ...]


LIGHT = Palette(
    background="#FFFFFF",
    text="#1B2430",
    muted="#5B6472",
    grid="#E6EAF0",
    up="#0072B2",
    down="#C2410C",
    line="#8A4F9E",
    accent="#00795B",
    series=(
        *("#0072B2", "#C2410C", "#00795B", "#8A4F9E", "#8A6700", "#3A6EA5"),
        *("#A6365F", "#4F6D2E", "#5B6472", "#A94A83", "#006D77"),
    ),
)


DARK = Palette(
    background="#0F141B",
    text="#E6EAF0",
    muted="#A9B4C2",
    grid="#252E39",
    up="#56B4E9",
    down="#E69F00",
    line="#CC8FD6",
    accent="#2BC09A",
    series=(
        *("#56B4E9", "#E69F00", "#2BC09A", "#CC8FD6", "#F0E442", "#8FB8FF"),
        *("#FF9AA2", "#A8D08D", "#A9B4C2", "#F2A7D0", "#5FD3DC"),
    ),
)


def hatch(color: str) -> Spec:
    """Diagonal lines: the mark of a fall where shape can't say it."""
    return {"symbol": "rect", "dashArrayX": [1, 0], "dashArrayY": [2, 4], "rotation": -0.785, "color": color}


def mix(base: str, color: str, share: float) -> str:
    """`share` of a colour over a base."""
    pairs = zip(_rgb(base), _rgb(color), strict=True)
    return "#" + "".join(f"{round(b * (1 - share) + c * share):02X}" for b, c in pairs)


def contrast(first: str, second: str) -> float:
    """WCAG contrast of two colours, 1 to 21."""
    high, low = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def ink_on(fill: str) -> str:
    """White or black, whichever is read better on a fill: one of them always reaches 4.5:1."""
    return max(("#FFFFFF", "#000000"), key=lambda ink: contrast(ink, fill))


def _rgb(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def _luminance(color: str) -> float:
    red, green, blue = (
        value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4
        for value in (part / 255 for part in _rgb(color))
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
