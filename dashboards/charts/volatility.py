"""Volatility: cone, ranking, unusual weeks, distance to the high."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

import words
from charts.bars import signed_bars
from charts.palette import Palette, Spec, mix


def cone(table: pa.Table, palette: Palette, *, symbol: str) -> Spec:
    """Percentiles of realised volatility by window, as nested bands, with the present on top."""
    rows = table.to_pylist()
    pct = {
        name: [None if row[name] is None else round(row[name] * 100, 1) for row in rows]
        for name in (
            "lowest_ratio",
            "p10_ratio",
            "p25_ratio",
            "median_ratio",
            "p75_ratio",
            "p90_ratio",
            "highest_ratio",
            "current_ratio",
        )
    }

    def gap(upper: str, lower: str) -> list[float | None]:
        return [
            None if u is None or v is None else round(u - v, 3) for u, v in zip(pct[upper], pct[lower], strict=True)
        ]

    def band(name: str, values: list[float | None], opacity: float) -> Spec:
        return {
            "type": "line",
            "name": name,
            "stack": "cone",
            "data": values,
            "showSymbol": False,
            "silent": True,
            "lineStyle": {"opacity": 0},
            "itemStyle": {"color": mix(palette.background, palette.up, max(opacity * 1.6, 0.3))},
            "areaStyle": {"color": palette.up, "opacity": opacity},
            "tooltip": {"show": False},
        }

    def line(name: str, values: list[float | None], color: str, symbol_: str, dash: str) -> Spec:
        return {
            "type": "line",
            "name": name,
            "data": values,
            "symbol": symbol_,
            "symbolSize": 9 if dash == "solid" else 5,
            "itemStyle": {"color": color},
            "lineStyle": {"color": color, "width": 2, "type": dash},
            "label": {
                "show": dash == "solid",
                "position": "top",
                "formatter": "{c} %",
                "color": palette.text,
                "backgroundColor": palette.background,
                "padding": [2, 5],
                "borderRadius": 4,
                "distance": 8,
            },
        }

    return {
        "animation": False,
        "aria": {"enabled": True},
        "legend": {
            "top": 0,
            "left": 40,
            "itemWidth": 16,
            "itemHeight": 9,
            "data": [
                "10th to 90th percentile",
                "25th to 75th percentile",
                "Median",
                "Lowest and highest",
                f"{symbol} now",
            ],
        },
        "tooltip": {"trigger": "axis", "valueFormatter": "%.1f %%", "confine": True},
        "grid": {"left": 8, "right": 24, "top": 56, "bottom": 8, "containLabel": True},
        "xAxis": {
            "type": "category",
            "boundaryGap": True,
            "data": [row["window_name"] for row in rows],
            "axisTick": {"show": False},
        },
        "yAxis": {
            "type": "value",
            "scale": True,
            "min": 0,
            "axisLabel": {"formatter": "{value} %"},
            "splitLine": {"lineStyle": {"color": palette.grid}},
        },
        "series": [
            {**band("base", pct["p10_ratio"], 0), "areaStyle": {"opacity": 0}},
            band("10th to 90th percentile", gap("p25_ratio", "p10_ratio"), 0.18),
            band("25th to 75th percentile", gap("p75_ratio", "p25_ratio"), 0.38),
            {**band("10th to 90th percentile", gap("p90_ratio", "p75_ratio"), 0.18)},
            line("Median", pct["median_ratio"], palette.muted, "none", "dashed"),
            line("Lowest and highest", pct["lowest_ratio"], palette.muted, "none", "dotted"),
            line("Lowest and highest", pct["highest_ratio"], palette.muted, "none", "dotted"),
            line(f"{symbol} now", pct["current_ratio"], palette.down, "diamond", "solid"),
        ],
    }


def ranking(
    rows: Sequence[Mapping[str, Any]],
    palette: Palette,
    *,
    picked: str,
    measure: str = "volatility_52w_ratio",
    mark: tuple[str, str] = ("volatility_13w_before_ratio", "13 weeks before"),
) -> Spec:
    """Volatility by symbol, the first row on top, another value as a tick, the picked symbol with a border."""
    ordered = list(reversed(rows))
    return {
        "animation": False,
        "aria": {"enabled": True},
        "legend": {"type": "scroll", "top": 0, "left": 8, "itemWidth": 14, "itemHeight": 9},
        "tooltip": {"trigger": "axis", "axisPointer": {"type": "shadow"}, "valueFormatter": "%.1f %%", "confine": True},
        "grid": {"left": 8, "right": 20, "top": 30, "bottom": 8, "containLabel": True},
        "xAxis": {
            "type": "value",
            "axisLabel": {"formatter": "{value} %"},
            "splitLine": {"lineStyle": {"color": palette.grid}},
        },
        "yAxis": {
            "type": "category",
            "data": [row["symbol"] for row in ordered],
            "axisTick": {"show": False},
            "axisLine": {"show": False},
            "axisLabel": {"interval": 0},
        },
        "series": [
            {
                "type": "bar",
                "name": "Now",
                "barCategoryGap": "30%",
                "itemStyle": {"color": mix(palette.background, palette.up, 0.42)},
                "data": [
                    {
                        "value": round(row[measure] * 100, 1),
                        **(
                            {
                                "itemStyle": {
                                    "color": mix(palette.background, palette.up, 0.42),
                                    "borderColor": palette.text,
                                    "borderWidth": 2,
                                }
                            }
                            if row["symbol"] == picked
                            else {}
                        ),
                    }
                    for row in ordered
                ],
                "label": {"show": True, "position": "insideLeft", "formatter": "{c} %", "color": palette.text},
            },
            {
                "type": "scatter",
                "name": mark[1],
                "symbol": "rect",
                "symbolSize": [3, 14],
                "itemStyle": {"color": palette.down},
                "data": [[round(row[mark[0]] * 100, 2), row["symbol"]] for row in ordered if row[mark[0]] is not None],
                "encode": {"x": 0, "y": 1, "tooltip": [0]},
            },
        ],
    }


_NAMED = 14


@dataclass(frozen=True, slots=True)
class Scores:
    """Which two z-scores are drawn, each with its name, and the move that says whether a point rose."""

    across: tuple[str, str]
    up: tuple[str, str]
    move: str
    period: str


def zscores(rows: Sequence[Mapping[str, Any]], palette: Palette, scores: Scores, *, picked: str) -> Spec:
    """Each instrument by two of its z-scores, the furthest with their names; inside the grey square is usual."""
    (across, across_name), (up, up_name) = scores.across, scores.up
    reach = sorted(rows, key=lambda row: -max(abs(row[across]), abs(row[up])))
    named = {picked, *(row["symbol"] for row in reach[:_NAMED])}
    series: list[Spec] = []
    for name, is_rise, color, symbol in (
        (f"rose {scores.period}", True, palette.up, "triangle"),
        (f"fell {scores.period}", False, palette.down, "path://M0,0 L10,0 L5,9 Z"),
    ):
        points = [
            {
                "name": row["symbol"],
                "value": [round(row[across], 3), round(row[up], 3)],
                "symbolSize": 17 if row["symbol"] == picked else 12,
                "label": {
                    "show": row["symbol"] in named,
                    "formatter": "{b}",
                    "position": "right",
                    "color": palette.text,
                    "fontSize": 11,
                },
                **({"itemStyle": {"borderColor": palette.text, "borderWidth": 2}} if row["symbol"] == picked else {}),
            }
            for row in rows
            if ((row[scores.move] or 0) >= 0) is is_rise
        ]
        series.append(
            {
                "type": "scatter",
                "name": name,
                "symbol": symbol,
                "itemStyle": {"color": color},
                "data": points,
                "labelLayout": {"hideOverlap": True},
                "large": False,
            }
        )
    series[0]["markArea"] = {
        "silent": True,
        "itemStyle": {"color": palette.muted, "opacity": 0.14},
        "data": [[{"xAxis": -2, "yAxis": -2}, {"xAxis": 2, "yAxis": 2}]],
    }
    axes = []
    for index, (title, gap) in enumerate(((across_name, 28), (up_name, 32))):
        values = [item["value"][index] for one in series for item in one["data"]]
        axes.append(
            {
                "type": "value",
                "min": min(-3, math.floor(min(values, default=0))),
                "max": max(3, math.ceil(max(values, default=0))),
                "minInterval": 1,
                "splitLine": {"lineStyle": {"color": palette.grid}},
                "axisLabel": {"hideOverlap": True},
                "name": title,
                "nameLocation": "middle",
                "nameGap": gap,
            }
        )
    return {
        "animation": False,
        "aria": {"enabled": True},
        "legend": {"type": "scroll", "top": 0, "left": 40, "itemWidth": 14, "itemHeight": 10},
        "tooltip": {
            "trigger": "item",
            "formatter": f"<b>{{b}}</b><br>{across_name}, {up_name.lower()}: {{c}}",
            "confine": True,
        },
        "grid": {"left": 12, "right": 48, "top": 34, "bottom": 10},
        "xAxis": axes[0],
        "yAxis": axes[1],
        "series": series,
    }


def distances(rows: Sequence[Mapping[str, Any]], palette: Palette, *, picked: str) -> Spec:
    """How far each symbol is below its 52-week high, nearest on top."""
    spec = signed_bars(
        rows, palette, name="symbol", measure="distance_to_high_52w_ratio", title="Distance to 52-week high"
    )
    for row, item in zip(rows, spec["series"][0]["data"], strict=True):
        item["label"] |= {"formatter": words.percent(row["distance_to_high_52w_ratio"]), "position": "left"}
        if row["symbol"] == picked:
            item["itemStyle"] |= {"borderColor": palette.text, "borderWidth": 2}
    spec["yAxis"]["position"] = "right"
    return spec
