"""Arrow columns made ready for a chart: percent, text axes, fewer points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tsdownsample import MinMaxLTTBDownsampler

MAX_POINTS = 20_000


def thin(table: pa.Table, measure: str, *, limit: int = MAX_POINTS) -> tuple[pa.Table, str]:
    """At most `limit` rows that keep the measure's shape, and a sentence when rows were left out."""
    if table.num_rows <= limit:
        return table, ""
    values = np.nan_to_num(table[measure].cast(pa.float64()).to_numpy(zero_copy_only=False))
    sampler = MinMaxLTTBDownsampler()  # type: ignore[no-untyped-call]
    kept = sampler.downsample(values, n_out=limit)
    note = f"{limit:,} of {table.num_rows:,} points are drawn, chosen to keep the shape; downloads hold all."
    return table.take(pa.array(np.asarray(kept, dtype=np.int64))), note


def derive(table: pa.Table, columns: Mapping[str, Any]) -> pa.Table:
    """The table with these columns added or replaced."""
    for name, values in columns.items():
        index = table.schema.get_field_index(name)
        table = table.append_column(name, values) if index < 0 else table.set_column(index, name, values)
    return table


def as_percent(table: pa.Table, name: str) -> Any:
    """A ratio column times 100, rounded to what a chart shows."""
    return pc.round(pc.multiply(table[name].cast(pa.float64()), 100.0), ndigits=3)


def labels(table: pa.Table, name: str) -> Any:
    """A date column as text, for a category axis."""
    return table[name].cast(pa.string())


def when(mask: Any, values: Any) -> Any:
    """The values where the mask is true, else null."""
    return pc.if_else(pc.fill_null(mask, fill_value=False), values, None)


def brushable(spec: Mapping[str, Any], *, axes: int = 1) -> dict[str, Any]:
    """The chart with a tool that marks a part of its time axis, in any of its panels."""
    return {
        **spec,
        "toolbox": {
            "left": 4,
            "top": 4,
            "padding": 0,
            "itemSize": 20,
            "feature": {"brush": {"type": ["lineX"], "title": {"lineX": "Drag over a part to load all of it"}}},
        },
        # Of no series: at each move of the pointer all of their points would be looked through.
        "brush": {
            "xAxisIndex": list(range(axes)),
            "seriesIndex": [],
            "brushType": "lineX",
            "brushMode": "single",
            "transformable": False,
            "throttleType": "debounce",
            "throttleDelay": 200,
        },
    }


def share(series: int, *, limit: int = MAX_POINTS) -> int:
    """Points for each of so many lines."""
    return limit // max(series, 1)


def apart(lines: Mapping[str, Sequence[float]], *, height: float, room: int = 14) -> dict[str, int]:
    """By how many pixels to move the name at each line's end down, so that no two stand on one another, on an axis of
    this height over all of the lines' values."""
    values = [value for own in lines.values() for value in own]
    if not values:
        return {}
    scale = 0.8 * height / ((max(values) - min(values)) or 1)  # an axis ends on round numbers, so it spans some more
    shifts: dict[str, int] = {}
    free = -1e12
    for name in sorted(lines, key=lambda name: -lines[name][-1]):
        place = -lines[name][-1] * scale
        shifts[name] = max(0, round(free - place))
        free = place + shifts[name] + room
    return shifts


def narrow(option: Mapping[str, Any], *, width: int = 560) -> list[dict[str, Any]]:
    """What a chart has otherwise on a telephone."""
    return [{"query": {"maxWidth": width}, "option": dict(option)}]
