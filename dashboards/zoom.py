"""Charts over time that were thinned: a part that is dragged over is asked for again, whole."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st

import charts
import controls

HOW_TO_ZOOM = (
    " Drag over a part with the tool on the left of the chart, or set dates under **Zoom**, to load all of it."
)


def timeline(
    spec: Mapping[str, Any],
    days: Sequence[dt.date],
    *,
    key: str,
    height: int,
    alt: str,
    is_thinned: bool,
    axes: int = 1,
) -> None:
    """Draw a chart whose category axis are these days. Thinned, it takes a drag over a part of them as a zoom."""
    if not is_thinned:
        st.echarts_chart(spec, height=height, key=key, alt=alt)
        return
    # The part is in the key, so that a new part starts without the old one's mark.
    name = f"{key}-{days[0]}-{days[-1]}-{len(days)}"
    st.echarts_chart(
        charts.brushable(spec, axes=axes), height=height, key=name, alt=alt, on_select=_zoom(name, list(days))
    )


def part(areas: Sequence[Mapping[str, Any]], days: Sequence[dt.date]) -> tuple[dt.date, dt.date] | None:
    """First and last of the days under a mark on the axis; None without one or for less than two days."""
    if not areas or not days:
        return None
    low, high = sorted(areas[0]["coord_range"][:2])
    first, last = max(0, round(low)), min(len(days) - 1, round(high))
    return (days[first], days[last]) if first < last else None


def _zoom(name: str, days: list[dt.date]) -> Callable[[], None]:
    def picked() -> None:
        found = part(st.session_state[name].selection.areas, days)
        if found is not None:
            controls.zoom_to(*found)

    return picked
