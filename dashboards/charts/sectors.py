"""Sectors: the map, the shares over time, the spread of returns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

import words
from charts.frames import as_percent, derive, narrow
from charts.palette import LIGHT, Palette, Spec, hatch, ink_on, mix

if TYPE_CHECKING:
    import altair as alt


def sector_map(
    rows: Sequence[Mapping[str, Any]],
    palette: Palette,
    *,
    move: str = "weekly_return_ratio",
    area: str = "dollar_volume_usd",
    strongest: float = 0.06,
) -> Spec:
    """Areas in sectors; colour by the return, strongest at `strongest`, falls hatched, every label signed."""
    sectors: dict[str, list[Spec]] = {}
    total = sum(row[area] or 0 for row in rows)
    for row in rows:
        ratio = row[move]
        fill, ink = _shade(ratio, palette, strongest=strongest)
        tile: Spec = {
            "name": row["symbol"],
            "value": row[area] or 0,
            "itemStyle": {"color": fill},
            "label": {
                "show": (row[area] or 0) > 0.012 * total,  # a smaller tile has no room for it
                "formatter": f"{row['symbol']}\n{words.move(ratio)}",
                "color": ink,
            },
        }
        if ratio is not None and ratio < 0:
            tile["itemStyle"]["decal"] = hatch("rgba(0,0,0,0.16)" if palette is LIGHT else "rgba(255,255,255,0.13)")
        sectors.setdefault(row["sector"], []).append(tile)
    return {
        "animation": False,
        "aria": {"enabled": True},
        "tooltip": {"valueFormatter": "dollar", "confine": True},
        "series": [
            {
                "type": "treemap",
                "name": "Dollar volume" if area == "dollar_volume_usd" else "Market capitalisation",
                "roam": False,
                "nodeClick": False,
                "breadcrumb": {"show": False},
                "top": 4,
                "bottom": 4,
                "left": 2,
                "right": 2,
                "label": {"fontSize": 13, "lineHeight": 17, "overflow": "truncate"},
                "upperLabel": {
                    "show": True,
                    "height": 22,
                    "color": palette.text,
                    "fontWeight": 600,
                    "backgroundColor": palette.background,
                },
                "itemStyle": {"borderColor": palette.background, "gapWidth": 2, "borderWidth": 1},
                "levels": [
                    {"itemStyle": {"borderWidth": 0, "gapWidth": 4}, "upperLabel": {"show": False}},
                    {"itemStyle": {"borderColor": palette.background, "gapWidth": 2, "borderWidth": 2}},
                ],
                "data": [{"name": name, "children": tiles} for name, tiles in sectors.items()],
            }
        ],
    }


def _shade(ratio: float | None, palette: Palette, *, strongest: float) -> tuple[str, str]:
    """Fill and ink for a return: stronger with its size, always readable."""
    if ratio is None:
        return mix(palette.background, palette.muted, 0.25), palette.text
    strength = 0.18 + 0.72 * min(abs(ratio) / strongest, 1.0)
    fill = mix(palette.background, palette.up if ratio >= 0 else palette.down, strength)
    ink = ink_on(fill)
    return fill, ink


def shares(table: pa.Table, palette: Palette, *, order: Iterable[str]) -> Spec:
    """Stacked areas that add up to 100 %: one row per week and sector."""
    weeks = sorted(set(table["week_start_date"].to_pylist()))
    at = {week: index for index, week in enumerate(weeks)}
    names = list(order)
    columns = {name: np.zeros(len(weeks)) for name in names}
    for row in table.select(["week_start_date", "sector", "dollar_volume_share_ratio"]).to_pylist():
        columns[row["sector"]][at[row["week_start_date"]]] = round((row["dollar_volume_share_ratio"] or 0) * 100, 3)
    data = pa.table({"week": [week.isoformat() for week in weeks], **columns})
    series = []
    for index, name in enumerate(names):
        color = palette.series[index % len(palette.series)]
        series.append(
            {
                "type": "line",
                "name": name,
                "stack": "share",
                "encode": {"x": "week", "y": name},
                "showSymbol": False,
                "lineStyle": {"width": 1.5, "color": palette.background},
                "itemStyle": {"color": color},
                "areaStyle": {"color": color, "opacity": 0.75},
                "emphasis": {"focus": "series"},
            }
        )
    return {
        "animation": False,
        "aria": {"enabled": True},
        "dataset": {"source": data},
        "legend": {
            "orient": "vertical",
            "right": 0,
            "top": 20,
            "itemWidth": 14,
            "itemHeight": 10,
            "icon": "roundRect",
            "itemGap": 12,
            "data": names[::-1],
        },
        "tooltip": {"trigger": "axis", "valueFormatter": "%.1f %%", "confine": True, "order": "seriesDesc"},
        "grid": {"left": 52, "right": 190, "top": 14, "bottom": 36},
        "xAxis": {"type": "category", "boundaryGap": False},
        "yAxis": {
            "type": "value",
            "max": 100,
            "axisLabel": {"formatter": "{value} %"},
            "splitLine": {"lineStyle": {"color": palette.grid}},
        },
        "dataZoom": [
            {"type": "inside", "zoomOnMouseWheel": "ctrl"},
            {"type": "slider", "bottom": 4, "height": 16, "brushSelect": False, "showDataShadow": False},
        ],
        "series": series,
        "media": narrow(
            {
                "legend": {"type": "scroll", "orient": "horizontal", "left": 0, "right": 0, "top": 0, "data": names},
                "grid": {"right": 12, "top": 34},
            }
        ),
    }


def distribution(table: pa.Table, palette: Palette) -> alt.LayerChart | alt.FacetChart:
    """Per sector: 5th to 95th percentile as a line, the middle half as a box, the median, and this week's mean."""
    import altair as alt  # noqa: PLC0415 - it costs a second, and no other chart needs it

    data = derive(table, {name: as_percent(table, name) for name in table.column_names if name.endswith("_ratio")})
    order = data["sector"].to_pylist()
    base = alt.Chart(data).encode(
        y=alt.Y("sector:N", sort=order, title=None, axis=alt.Axis(labelLimit=170, ticks=False, domain=False))
    )
    axis = alt.Axis(title="Weekly return, %", grid=True, tickCount=8)
    ends = [value or 0 for name in ("p05_ratio", "p95_ratio", "week_average_ratio") for value in data[name].to_pylist()]
    scale = alt.Scale(domain=[min(ends) - 1, max(ends) + 1], nice=False, zero=False)
    tips = [
        alt.Tooltip("sector:N", title="Sector"),
        alt.Tooltip("p05_ratio:Q", title="5th percentile, %", format=".2f"),
        alt.Tooltip("p25_ratio:Q", title="25th, %", format=".2f"),
        alt.Tooltip("median_ratio:Q", title="Median, %", format=".2f"),
        alt.Tooltip("p75_ratio:Q", title="75th, %", format=".2f"),
        alt.Tooltip("p95_ratio:Q", title="95th, %", format=".2f"),
        alt.Tooltip("week_average_ratio:Q", title="This week, %", format=".2f"),
        alt.Tooltip("observation_count:Q", title="Weeks x stocks"),
    ]
    whisker = base.mark_rule(color=palette.muted, strokeWidth=1.5).encode(
        x=alt.X("p05_ratio:Q", axis=axis, scale=scale), x2="p95_ratio:Q", tooltip=tips
    )
    box = base.mark_bar(
        color=mix(palette.background, palette.up, 0.45), stroke=palette.up, strokeWidth=1, height=15, cornerRadius=2
    ).encode(x="p25_ratio:Q", x2="p75_ratio:Q", tooltip=tips)
    median = base.mark_tick(color=palette.text, thickness=2.5, height=19).encode(x="median_ratio:Q", tooltip=tips)
    week = base.mark_point(
        shape="diamond", size=95, filled=True, color=palette.down, stroke=palette.background, strokeWidth=1, opacity=1
    ).encode(x="week_average_ratio:Q", tooltip=tips)
    return alt.layer(whisker, box, median, week).properties(description="Weekly returns by sector")
