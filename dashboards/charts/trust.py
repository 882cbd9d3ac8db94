"""Coverage by slice, and the model as a diagram."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import words
from charts.frames import narrow
from charts.palette import Palette, Spec, hatch, ink_on, mix


def coverage(rows: Sequence[Mapping[str, Any]], palette: Palette) -> Spec:
    """Datasets by slices: complete cells filled, the others hatched, each with its count while there is room for it."""
    names = sorted({f"{row['provider']}/{row['dataset']}" for row in rows})
    slices = sorted({row["slice_start_date"] for row in rows})
    has_room = len(slices) <= 16
    cells = []
    for row in rows:
        is_whole = row["complete_count"] == row["expected_count"]
        missing = row["expected_count"] - row["complete_count"]
        wide = f"{'✓' if is_whole else '!'} {row['complete_count']}/{row['expected_count']}"
        cells.append(
            _cell(
                slices.index(row["slice_start_date"]),
                names.index(f"{row['provider']}/{row['dataset']}"),
                row["complete_ratio"] or 0,
                wide if has_room else "✓" if is_whole else f"!{missing}",
                palette,
                is_good=is_whole,
            )
        )
    return _heatmap("Complete, %", [words.day(day) for day in slices], names, cells)


def scores(rows: Sequence[Mapping[str, Any]], palette: Palette) -> Spec:
    """Providers by instruments, in the rows' order: the share of values that agree with the winners'."""
    providers = sorted({row["provider"] for row in rows})
    symbols = list(dict.fromkeys(row["symbol"] for row in rows))
    cells = [
        _cell(
            symbols.index(row["symbol"]),
            providers.index(row["provider"]),
            row["provider_score"],
            "✓"
            if row["agreeing_count"] == row["value_count"]
            else words.share(row["agreeing_count"], row["value_count"]),
            palette,
            is_good=row["agreeing_count"] == row["value_count"],
        )
        for row in rows
    ]
    return _heatmap("Values that agree, %", symbols, providers, cells)


def _cell(x: int, y: int, ratio: float, label: str, palette: Palette, *, is_good: bool) -> Spec:
    """One cell, whose fill, hatching and text say the same."""
    fill = mix(palette.background, palette.up if is_good else palette.down, 0.35 if is_good else 0.55)
    return {
        "value": [x, y, round(ratio * 100, 2)],
        "itemStyle": {
            "color": fill,
            "borderColor": palette.background,
            "borderWidth": 2,
            **({} if is_good else {"decal": hatch(mix(fill, palette.background, 0.5))}),
        },
        "label": {
            "show": True,
            "color": ink_on(fill),
            "formatter": label,
        },
    }


def _heatmap(name: str, columns: Sequence[str], rows: Sequence[str], cells: Sequence[Spec]) -> Spec:
    bare = {"axisTick": {"show": False}, "axisLine": {"show": False}}
    return {
        "animation": False,
        "aria": {"enabled": True},
        "tooltip": {"show": False},
        "grid": {"left": 8, "right": 12, "top": 6, "bottom": 6, "containLabel": True},
        "xAxis": {"type": "category", "data": columns, **bare},
        "yAxis": {"type": "category", "data": rows, **bare},
        "series": [{"type": "heatmap", "name": name, "data": cells}],
        "media": narrow({"series": [{"data": [{**cell, "label": {"show": False}} for cell in cells]}]}),
    }


def model_diagram(columns: Sequence[Mapping[str, Any]], tables: Iterable[str]) -> str:
    """The stars as a Mermaid diagram: a key column that is another table's first column is a relation. Tables without
    one are left out, so that the others can be read."""
    names = set(tables)
    own: dict[str, list[Mapping[str, Any]]] = {}
    for column in columns:
        if column["table_name"] in names:
            own.setdefault(column["table_name"], []).append(column)
    first = {rows[0]["column_name"]: table for table, rows in own.items() if rows[0]["column_name"].endswith("_key")}
    drawn: list[str] = ["erDiagram", "    direction LR"]
    used: set[str] = set()
    for table, rows in sorted(own.items()):
        for column in rows[1:]:
            target = first.get(column["column_name"])
            if target is not None and target != table:
                drawn.append(f'    {target} ||--o{{ {table} : "{column["column_name"]}"')
                used |= {target, table}
    for table, rows in sorted(own.items()):
        if used and table not in used:
            continue
        keys = [c for i, c in enumerate(rows) if i == 0 or c["column_name"].endswith(("_key", "_id"))]
        drawn.append(f"    {table} {{")
        drawn.extend(
            f"        {column['data_type'].split('(')[0].replace(' ', '_')} {column['column_name']}"
            f"{' PK' if column is rows[0] else ' FK' if column['column_name'] in first else ''}"
            for column in keys
        )
        drawn.append("    }")
    return "\n".join(drawn)
