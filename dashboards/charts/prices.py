"""The price chart: four panels on one axis with one zoom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from charts.frames import apart, as_percent, derive, labels, when
from charts.palette import Palette, Spec, hatch

_DASHES = ("solid", "dashed", "dotted")


@dataclass(frozen=True, slots=True)
class Measures:
    """Which columns are drawn beside the bars, each with its name."""

    band: tuple[str, str, str]  # the window's name, the columns of its high and its low
    scores: Mapping[str, str]
    volatilities: Mapping[str, str]
    overlays: Mapping[str, str] = field(default_factory=dict)


def candles(table: pa.Table, palette: Palette, measures: Measures) -> Spec:
    """Candles with their averages, band and event marks over volume, z-scores and volatility: one axis, one zoom."""
    window, high, low = measures.band
    series: list[Spec] = [
        _candles(palette),
        *_overlays(table, measures, palette),
        _line(f"{window} high", high, palette.muted, dash="dotted", step="end"),
        _line(f"{window} low", low, palette.muted, dash="dotted", step="end"),
        _mark("Split, new for one", "split_mark", "split_ratio", "diamond", palette.line)
        | {"label": {"show": True, "formatter": "{@split_text}", "position": "top", "color": palette.text}},
        _mark("Dividend, USD", "dividend_mark", "dividend_usd", "triangle", palette.accent),
        _mark("Corrected values", "corrected_mark", "corrected_values", "rect", palette.muted),
    ]
    in_first = [item["name"] for item in series]
    series += [
        _bar("Volume of rising bars, m", "volume up, m", palette.up),
        _bar("Volume of falling bars, m", "volume down, m", palette.down, decal=hatch(palette.background)),
        *_panel(measures.scores, palette, axis=2),
        *_panel({f"{column} %": name for column, name in measures.volatilities.items()}, palette, axis=3),
    ]
    series[len(in_first) + 2] |= {
        "markLine": {
            "silent": True,
            "symbol": "none",
            "label": {"show": False},
            "lineStyle": {"color": palette.muted, "type": "dashed", "width": 1},
            "data": [{"yAxis": 2}, {"yAxis": -2}],
        }
    }
    heights = ((58, 300), (392, 70), (500, 84), (624, 84))
    return {
        "animation": False,
        "aria": {"enabled": True},
        "dataset": {"source": _source(table, measures)},
        "legend": [
            _legend(in_first, top=4, left=52),
            *(
                _legend(list(names.values()), top=top - 27, left=226)
                for names, (top, _) in zip((measures.scores, measures.volatilities), heights[2:], strict=True)
            ),
        ],
        "tooltip": {"trigger": "axis", "axisPointer": {"type": "cross"}, "confine": True, "valueFormatter": "%.2f"},
        "axisPointer": {"link": [{"xAxisIndex": "all"}]},
        "title": [
            {"text": text, "left": 56, "top": top - 23, "textStyle": {"fontSize": 11.5, "color": palette.muted}}
            for (top, _), text in zip(
                heights[1:], ("Volume, m shares", "z-scores (±2 dashed)", "Volatility, % a year"), strict=True
            )
        ],
        "grid": [{"left": 56, "right": 32, "top": top, "height": height} for top, height in heights],
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


def _source(table: pa.Table, measures: Measures) -> pa.Table:
    """The columns that the series name, with marks placed beside their bars."""
    rising = pc.greater_equal(table["close_usd"], table["open_usd"])
    volume_m = pc.divide(table["volume_shares"].cast(pa.float64()), 1e6)
    above = pc.multiply(table["high_usd"], 1.04)
    data = derive(
        table,
        {
            "bar": labels(table, "session_date"),
            "volume up, m": when(rising, volume_m),
            "volume down, m": when(pc.invert(rising), volume_m),
            "dividend_mark": when(pc.is_valid(table["dividend_usd"]), pc.multiply(table["low_usd"], 0.965)),
            "split_mark": when(pc.is_valid(table["split_ratio"]), above),
            "split_text": pa.array([split_text(ratio) for ratio in table["split_ratio"].to_pylist()], pa.string()),
            "corrected_mark": when(pc.greater(table["corrected_values"], 0), above),
            **{f"{column} %": as_percent(table, column) for column in measures.volatilities},
        },
    )
    return data.select(
        [
            *("bar", "open_usd", "close_usd", "low_usd", "high_usd", *measures.overlays, *measures.band[1:]),
            *("volume up, m", "volume down, m", *measures.scores, *(f"{name} %" for name in measures.volatilities)),
            *("dividend_mark", "split_mark", "corrected_mark", "dividend_usd", "split_ratio", "corrected_values"),
            "split_text",
        ]
    )


def split_text(ratio: float | None) -> str | None:
    """4 as `4:1`, 0.1 as `1:10`."""
    if ratio is None:
        return None
    return f"{ratio:.4g}:1" if ratio >= 1 else f"1:{1 / ratio:.4g}"


def _candles(palette: Palette) -> Spec:
    up = {"color": palette.background, "borderColor": palette.up, "color0": palette.down, "borderColor0": palette.down}
    return {
        "type": "candlestick",
        "name": "Open, high, low, close",
        "encode": {"x": "bar", "y": ["open_usd", "close_usd", "low_usd", "high_usd"]},
        "itemStyle": {**up, "borderWidth": 1.2},
    }


def _overlays(table: pa.Table, measures: Measures, palette: Palette) -> list[Spec]:
    """Lines over the candles, told apart by dash and by the name at their end as well as by colour."""
    colors = (palette.line, palette.accent, palette.text, palette.muted)
    label = {"color": palette.text, "fontSize": 10.5}
    span = [pc.min(table["low_usd"]).as_py(), pc.max(table["high_usd"]).as_py()]
    ends = {name: table[name].drop_null() for name in measures.overlays}
    shifts = apart({name: [*span, own[-1].as_py()] for name, own in ends.items() if len(own)}, height=300, room=12)
    return [
        _line(name, column, colors[index % 4], dash=_DASHES[index % 3])
        | {
            "endLabel": {
                **label,
                "show": name[0].isdigit(),
                "formatter": name.split("-")[0],
                "offset": [0, shifts.get(column, 0)],
            },
        }
        for index, (column, name) in enumerate(measures.overlays.items())
    ]


def _panel(names: Mapping[str, str], palette: Palette, *, axis: int) -> list[Spec]:
    colors = (palette.accent, palette.line, palette.muted)
    return [
        _line(name, column, colors[index % 3], axis=axis, dash=_DASHES[index % 3])
        for index, (column, name) in enumerate(names.items())
    ]


def _legend(names: list[str], *, top: float, left: float) -> Spec:
    place: Spec = {"type": "scroll", "top": top, "left": left, "right": 16}
    return {**place, "itemWidth": 22, "itemHeight": 9, "data": names, "padding": 3}


def _line(name: str, column: str, color: str, *, axis: int = 0, dash: str = "solid", step: str = "") -> Spec:
    return {
        "type": "line",
        "name": name,
        "xAxisIndex": axis,
        "yAxisIndex": axis,
        "encode": {"x": "bar", "y": column},
        "showSymbol": False,
        "connectNulls": False,
        "itemStyle": {"color": color},
        "lineStyle": {"color": color, "width": 1.2 if step else 1.5, "type": dash},
        **({"step": step} if step else {}),
    }


def _bar(name: str, column: str, color: str, *, decal: Spec | None = None) -> Spec:
    return {
        "type": "bar",
        "name": name,
        "xAxisIndex": 1,
        "yAxisIndex": 1,
        "stack": "volume",
        "encode": {"x": "bar", "y": column},
        "itemStyle": {"color": color, **({"decal": decal} if decal else {})},
        "large": False,
    }


def _mark(name: str, column: str, shown: str, symbol: str, color: str) -> Spec:
    return {
        "type": "scatter",
        "name": name,
        "encode": {"x": "bar", "y": column, "tooltip": [shown]},
        "symbol": symbol,
        "symbolSize": 10,
        "itemStyle": {"color": color},
        "large": False,
    }
