"""Bars around zero and lines over time, used by several pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

import words
from charts.frames import as_percent, derive, labels
from charts.palette import Palette, Spec, hatch


def signed_bars(rows: Sequence[Mapping[str, Any]], palette: Palette, *, name: str, measure: str, title: str) -> Spec:
    """Horizontal bars around zero in the rows' order, first at the bottom."""
    items: list[Spec] = []
    for row in rows:
        ratio = row[measure]
        is_fall = ratio is not None and ratio < 0
        items.append(
            {
                "value": None if ratio is None else round(ratio * 100, 3),
                "itemStyle": {
                    "color": palette.down if is_fall else palette.up,
                    **({"decal": hatch(palette.background)} if is_fall else {}),
                },
                "label": {
                    "show": True,
                    "position": "left" if is_fall else "right",
                    "formatter": words.move(ratio),
                    "color": palette.text,
                },
            }
        )
    values = [item["value"] for item in items if item["value"] is not None] or [0]
    low, high = min(values), max(values)
    room = 0.22 * max(high, 0) - 0.22 * min(low, 0)  # for the labels at the bars' ends
    return {
        "animation": False,
        "aria": {"enabled": True},
        "tooltip": {"trigger": "item", "valueFormatter": "%.2f %%", "confine": True},
        "grid": {"left": 8, "right": 14, "top": 8, "bottom": 6, "containLabel": True},
        "xAxis": {
            "type": "value",
            "min": -_ceiling(room - low) if low < 0 else 0,
            "max": _ceiling(room + high) if high > 0 else 0,
            "axisLabel": {
                "formatter": "{value} %",
                "hideOverlap": True,
                "showMinLabel": low >= 0,
                "showMaxLabel": high <= 0,
            },
            "splitLine": {"lineStyle": {"color": palette.grid}},
        },
        "yAxis": {
            "type": "category",
            "data": [row[name] for row in rows],
            "axisTick": {"show": False},
            "axisLine": {"show": False},
            "axisLabel": {"margin": 10, "interval": 0},
        },
        "series": [{"type": "bar", "name": title, "data": items, "barCategoryGap": "34%"}],
    }


def _ceiling(value: float) -> float:
    """The next round number, so that axes end on a tick."""
    step = 10 ** np.floor(np.log10(value)) / 2
    return float(round(np.ceil(value / step) * step, 6))


def counts(rows: Sequence[Mapping[str, Any]], palette: Palette, *, name: str, measure: str, title: str) -> Spec:
    """Horizontal bars from zero with their counts, the first row on top."""
    ordered = list(reversed(rows))
    return {
        "animation": False,
        "aria": {"enabled": True},
        "tooltip": {"trigger": "item", "valueFormatter": "%,d", "confine": True},
        "grid": {"left": 8, "right": 60, "top": 8, "bottom": 6, "containLabel": True},
        "xAxis": {
            "type": "value",
            "minInterval": 1,
            "axisLabel": {"hideOverlap": True},
            "splitLine": {"lineStyle": {"color": palette.grid}},
        },
        "yAxis": {
            "type": "category",
            "data": [str(row[name]) for row in ordered],
            "axisTick": {"show": False},
            "axisLine": {"show": False},
            "axisLabel": {"margin": 10, "interval": 0, "width": 230, "overflow": "truncate"},
        },
        "series": [
            {
                "type": "bar",
                "name": title,
                "barCategoryGap": "34%",
                "barMaxWidth": 26,
                "itemStyle": {"color": palette.up},
                "label": {"show": True, "position": "right", "color": palette.text},
                "data": [row[measure] for row in ordered],
            }
        ],
    }


def lines(
    table: pa.Table, palette: Palette, columns: Mapping[str, tuple[str, str, str]], *, day: str = "week_start_date"
) -> Spec:
    """Percent lines over the dates in `day`; `columns` maps a ratio column to its name, colour and dash."""
    data = derive(table, {name: as_percent(table, name) for name in columns} | {"day": labels(table, day)})
    data = data.select(["day", *columns])
    return {
        "animation": False,
        "aria": {"enabled": True},
        "dataset": {"source": data},
        "legend": {"type": "scroll", "top": 0, "left": 48, "itemWidth": 22, "itemHeight": 9},
        "tooltip": {"trigger": "axis", "valueFormatter": "%.1f %%", "confine": True},
        "grid": {"left": 8, "right": 16, "top": 34, "bottom": 34, "containLabel": True},
        "xAxis": {"type": "category", "boundaryGap": False},
        "yAxis": {
            "type": "value",
            "scale": True,
            "axisLabel": {"formatter": "{value} %"},
            "splitLine": {"lineStyle": {"color": palette.grid}},
        },
        "dataZoom": [
            {"type": "inside", "zoomOnMouseWheel": "ctrl"},
            {"type": "slider", "bottom": 4, "height": 16, "brushSelect": False, "showDataShadow": False},
        ],
        "series": [
            {
                "type": "line",
                "name": name,
                "encode": {"x": "day", "y": column},
                "showSymbol": False,
                "itemStyle": {"color": color},
                "lineStyle": {"color": color, "width": 2, "type": dash},
            }
            for column, (name, color, dash) in columns.items()
        ],
    }
