"""Several instruments on one scale: lines that begin at 100, correlations, return against volatility."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

import words
from charts.frames import MAX_POINTS, apart, thin
from charts.palette import Palette, Spec, hatch, ink_on, mix

DASHES = ("solid", "dashed", "dotted")


def spread(table: pa.Table, *, name: str, day: str, measure: str) -> tuple[pa.Table, str]:
    """One column per name and one row per day, from a row per name and day, and a sentence when rows were left out."""
    names = list(dict.fromkeys(table[name].to_pylist()))
    column = table[name].to_numpy(zero_copy_only=False)
    total, drawn = table.num_rows, 0
    found: dict[str, tuple[list[dt.date], list[float]]] = {}
    for one in names:
        rows = table.filter(pa.array(column == one))
        # Each gets its part of the points, so that a short one keeps its own beside a long one.
        limit = rows.num_rows if total <= MAX_POINTS else max(MAX_POINTS * rows.num_rows // total, 4)
        kept, _ = thin(rows, measure, limit=limit)
        found[one] = (kept[day].to_pylist(), kept[measure].to_pylist())
        drawn += kept.num_rows
    note = (
        f"{drawn:,} of {total:,} points are drawn, chosen to keep the shape; downloads hold all."
        if drawn < total
        else ""
    )
    return paths(found), note


def paths(found: Mapping[str, tuple[Sequence[dt.date], Sequence[float]]]) -> pa.Table:
    """One column per name and one row per day, from each name's days and values."""
    days = sorted({day for dates, _ in found.values() for day in dates})
    columns = {name: dict(zip(dates, values, strict=True)) for name, (dates, values) in found.items()}
    return pa.table(
        {
            "day": pa.array(days, pa.date32()),
            **{name: pa.array([own.get(day) for day in days], pa.float64()) for name, own in columns.items()},
        }
    )


def indexed(table: pa.Table, palette: Palette, *, bold: str = "", height: int = 430, has_slider: bool = True) -> Spec:
    """Lines over the dates in `day`, one per further column, told apart by dash and by the name at their end too."""
    names = table.column_names[1:]
    data = table.set_column(0, "day", table["day"].cast(pa.string()))
    for index, name in enumerate(names, start=1):
        values = np.round(data[name].to_numpy(zero_copy_only=False).astype(float), 3)
        data = data.set_column(index, name, pa.array(values, from_pandas=True))
    columns = {name: data[name].drop_null().to_pylist() for name in names}
    shifts = apart({name: own for name, own in columns.items() if own}, height=height - (88 if has_slider else 62))
    series = []
    for index, name in enumerate(names):
        color = palette.series[index % len(palette.series)]
        series.append(
            {
                "type": "line",
                "name": name,
                "encode": {"x": "day", "y": name},
                "showSymbol": False,
                "connectNulls": True,
                "itemStyle": {"color": color},
                "lineStyle": {"color": color, "width": 2.6 if name == bold else 1.8, "type": DASHES[index % 3]},
                "endLabel": {
                    "show": True,
                    "formatter": "{a}",
                    "color": palette.text,
                    "fontSize": 11.5,
                    "distance": 6,
                    "offset": [0, shifts.get(name, 0)],
                },
                "emphasis": {"focus": "series"},
            }
        )
    if series:
        series[0]["markLine"] = {
            "silent": True,
            "symbol": "none",
            "label": {"show": False},
            "lineStyle": {"color": palette.muted, "type": "dashed", "width": 1},
            "data": [{"yAxis": 100}],
        }
    room = 24 + 8 * max((len(name) for name in names), default=4)
    return {
        "animation": False,
        "aria": {"enabled": True},
        "dataset": {"source": data},
        "legend": {"type": "scroll", "top": 0, "left": 60, "itemWidth": 26, "itemHeight": 9},
        "tooltip": {"trigger": "axis", "valueFormatter": "%.1f", "confine": True, "order": "valueDesc"},
        "grid": {"left": 52, "right": min(room, 190), "top": 36, "bottom": 52 if has_slider else 26},
        "xAxis": {"type": "category", "boundaryGap": False, "axisLine": {"onZero": False}},
        "yAxis": {
            "type": "value",
            "scale": True,
            "splitLine": {"lineStyle": {"color": palette.grid}},
        },
        "dataZoom": [
            {"type": "inside", "zoomOnMouseWheel": "ctrl"},
            {
                "type": "slider",
                "show": has_slider,
                "bottom": 4,
                "height": 16,
                "brushSelect": False,
                "showDataShadow": False,
            },
        ],
        "series": series,
    }


def correlations(rows: Sequence[Mapping[str, Any]], palette: Palette) -> Spec:
    """A square of pairs: stronger with the size of the correlation, negative ones hatched, each with its number."""
    names = list(dict.fromkeys(row["symbol"] for row in rows))
    cells = []
    for row in rows:
        value = row["correlation"]
        color = palette.muted if value is None else palette.up if value >= 0 else palette.down
        fill = mix(palette.background, color, 0.12 if value is None else 0.08 + 0.82 * abs(value))
        cells.append(
            {
                "value": [names.index(row["other_symbol"]), names.index(row["symbol"]), words.rounded(value, 3)],
                "itemStyle": {
                    "color": fill,
                    "borderColor": palette.background,
                    "borderWidth": 2,
                    **({"decal": hatch(mix(fill, palette.background, 0.4))} if value is not None and value < 0 else {}),
                },
                "label": {
                    "show": True,
                    "color": ink_on(fill),
                    "formatter": words.NONE if value is None else words.score(value),
                    "fontSize": 13,
                },
            }
        )
    bare = {"axisTick": {"show": False}, "axisLine": {"show": False}}
    return {
        "animation": False,
        "aria": {"enabled": True},
        "tooltip": {"show": False},
        "grid": {"left": 8, "right": 12, "top": 6, "bottom": 6, "containLabel": True},
        "xAxis": {"type": "category", "data": names, "axisLabel": {"interval": 0}, **bare},
        "yAxis": {"type": "category", "data": names, "inverse": True, **bare},
        "series": [{"type": "heatmap", "name": "Correlation", "data": cells}],
    }


def earned(rows: Sequence[Mapping[str, Any]], palette: Palette, *, bold: str) -> Spec:
    """Volatility across, return up; each point has its name."""
    series = []
    for name, is_rise, color, symbol in (
        ("rose", True, palette.up, "triangle"),
        ("fell", False, palette.down, "path://M0,0 L10,0 L5,9 Z"),
    ):
        series.append(
            {
                "type": "scatter",
                "name": name,
                "symbol": symbol,
                "itemStyle": {"color": color},
                "data": [
                    {
                        "name": row["symbol"],
                        "value": [round(row["volatility_ratio"] * 100, 2), round(row["return_ratio"] * 100, 2)],
                        "symbolSize": 18 if row["symbol"] == bold else 13,
                        "label": {
                            "show": True,
                            "formatter": "{b}",
                            "position": "right",
                            "color": palette.text,
                            "fontSize": 12,
                        },
                    }
                    for row in rows
                    if (row["return_ratio"] >= 0) is is_rise
                ],
                "labelLayout": {"hideOverlap": True},
                "large": False,
            }
        )
    axis = {
        "type": "value",
        "axisLabel": {"formatter": "{value} %", "hideOverlap": True},
        "splitLine": {"lineStyle": {"color": palette.grid}},
        "nameLocation": "middle",
    }
    return {
        "animation": False,
        "aria": {"enabled": True},
        "legend": {"top": 0, "left": 60, "itemWidth": 14, "itemHeight": 10},
        "tooltip": {
            "trigger": "item",
            "formatter": "<b>{b}</b><br>volatility %, return %: {c}",
            "confine": True,
        },
        "grid": {"left": 12, "right": 56, "top": 36, "bottom": 10},
        "xAxis": {**axis, "scale": True, "name": "Volatility a year", "nameGap": 28},
        "yAxis": {**axis, "name": "Return", "nameGap": 48},
        "series": series,
    }
