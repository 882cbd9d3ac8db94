"""The price chart: four panels on one axis with one zoom."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from charts.frames import as_percent, derive, labels, when
from charts.palette import Palette, Spec, hatch


def candles(table: pa.Table, palette: Palette, *, has_adjusted_line: bool) -> Spec:
    """Candles with their 52-week band and event marks over volume, return z and volatility: one axis, one zoom."""
    rising = pc.greater_equal(table["close_usd"], table["open_usd"])
    volume_m = pc.divide(table["volume_shares"].cast(pa.float64()), 1e6)
    below = pc.multiply(table["low_usd"], 0.965)
    data = derive(
        table,
        {
            "week": labels(table, "week_start_date"),
            "volume up, m": when(rising, volume_m),
            "volume down, m": when(pc.invert(rising), volume_m),
            "volatility_pct": as_percent(table, "volatility_52w_ratio"),
            "dividend_mark": when(pc.greater(table["dividend_usd"], 0), below),
            "split_mark": when(pc.is_valid(table["split_ratio"]), pc.multiply(table["high_usd"], 1.04)),
            "restated_mark": when(pc.greater(table["corrected_values"], 0), pc.multiply(table["high_usd"], 1.04)),
        },
    ).select(
        [
            *("week", "open_usd", "close_usd", "low_usd", "high_usd", "adjusted_close_usd", "high_52w_usd"),
            *("low_52w_usd", "volume up, m", "volume down, m", "return_zscore_52w", "volatility_pct"),
            *("dividend_mark", "split_mark", "restated_mark", "dividend_usd", "split_ratio", "corrected_values"),
        ]
    )
    up = {"color": palette.background, "borderColor": palette.up, "color0": palette.down, "borderColor0": palette.down}
    series: list[Spec] = [
        {
            "type": "candlestick",
            "name": "Open, high, low, close",
            "encode": {"x": "week", "y": ["open_usd", "close_usd", "low_usd", "high_usd"]},
            "itemStyle": {**up, "borderWidth": 1.2},
        },
        _line("52-week high", "high_52w_usd", palette.muted, dash="dotted", step="end"),
        _line("52-week low", "low_52w_usd", palette.muted, dash="dotted", step="end"),
        _mark("Dividend, USD", "dividend_mark", "dividend_usd", "triangle", palette.accent),
        _mark("Split ratio", "split_mark", "split_ratio", "diamond", palette.line),
        _mark("Corrected values", "restated_mark", "corrected_values", "rect", palette.muted),
        _bar("Volume of rising weeks, m", "volume up, m", palette.up, axis=1),
        _bar("Volume of falling weeks, m", "volume down, m", palette.down, axis=1, decal=hatch(palette.background)),
        _line("Return z-score", "return_zscore_52w", palette.accent, axis=2)
        | {
            "markLine": {
                "silent": True,
                "symbol": "none",
                "label": {"show": False},
                "lineStyle": {"color": palette.muted, "type": "dashed", "width": 1},
                "data": [{"yAxis": 2}, {"yAxis": -2}],
            }
        },
        _line("52-week volatility, %", "volatility_pct", palette.line, axis=3),
    ]
    if has_adjusted_line:
        series.insert(1, _line("Adjusted close", "adjusted_close_usd", palette.line))
    heights = ((44, 290), (368, 70), (472, 62), (568, 62))
    titles = ("", "Volume, m shares", "Weekly return, z-score (±2 dashed)", "52-week volatility, % a year")
    return {
        "animation": False,
        "aria": {"enabled": True},
        "dataset": {"source": data},
        "legend": {
            "top": 4,
            "left": 56,
            "itemWidth": 16,
            "itemHeight": 9,
            "data": [s["name"] for s in series if s["name"].split(" ")[0] not in ("Volume", "Return", "52-week")]
            + ["52-week high", "52-week low"],
        },
        "tooltip": {"trigger": "axis", "axisPointer": {"type": "cross"}, "confine": True, "valueFormatter": "%.2f"},
        "axisPointer": {"link": [{"xAxisIndex": "all"}]},
        "title": [
            {"text": text, "left": 56, "top": top - 21, "textStyle": {"fontSize": 11.5, "color": palette.muted}}
            for (top, _), text in zip(heights, titles, strict=True)
        ][1:],
        "grid": [{"left": 56, "right": 20, "top": top, "height": height} for top, height in heights],
        "xAxis": [
            {
                "type": "category",
                "gridIndex": index,
                "axisLabel": {"show": index == 3},
                "axisTick": {"show": False},
                "axisLine": {"lineStyle": {"color": palette.grid}},
                "axisPointer": {"label": {"show": index == 3}},
            }
            for index in range(4)
        ],
        "yAxis": [
            {
                "type": "value",
                "gridIndex": index,
                "scale": index != 1,
                "splitNumber": 5 if index == 0 else 2,
                "axisLabel": {"showMinLabel": index == 0, "hideOverlap": True},
                "splitLine": {"lineStyle": {"color": palette.grid}},
                "axisPointer": {"label": {"precision": 2}},
            }
            for index in range(4)
        ],
        "dataZoom": [
            {"type": "inside", "xAxisIndex": [0, 1, 2, 3], "zoomOnMouseWheel": "ctrl"},
            {"type": "slider", "xAxisIndex": [0, 1, 2, 3], "bottom": 6, "height": 18, "brushSelect": False},
        ],
        "series": series,
    }


def _line(name: str, column: str, color: str, *, axis: int = 0, dash: str = "solid", step: str = "") -> Spec:
    return {
        "type": "line",
        "name": name,
        "xAxisIndex": axis,
        "yAxisIndex": axis,
        "encode": {"x": "week", "y": column},
        "showSymbol": False,
        "connectNulls": False,
        "itemStyle": {"color": color},
        "lineStyle": {"color": color, "width": 1.2 if dash == "dotted" else 1.5, "type": dash},
        **({"step": step} if step else {}),
    }


def _bar(name: str, column: str, color: str, *, axis: int, decal: Spec | None = None) -> Spec:
    return {
        "type": "bar",
        "name": name,
        "xAxisIndex": axis,
        "yAxisIndex": axis,
        "stack": "volume",
        "encode": {"x": "week", "y": column},
        "itemStyle": {"color": color, **({"decal": decal} if decal else {})},
        "large": False,
    }


def _mark(name: str, column: str, shown: str, symbol: str, color: str) -> Spec:
    return {
        "type": "scatter",
        "name": name,
        "encode": {"x": "week", "y": column, "tooltip": [shown]},
        "symbol": symbol,
        "symbolSize": 9,
        "itemStyle": {"color": color},
        "large": False,
    }
