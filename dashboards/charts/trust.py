"""Coverage by slice, and the model as a diagram."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import words
from charts.palette import Palette, Spec, contrast, hatch, mix


def coverage(rows: Sequence[Mapping[str, Any]], palette: Palette) -> Spec:
    """Datasets by slices: complete cells filled, the others hatched, each with its count."""
    names = sorted({f"{row['provider']}/{row['dataset']}" for row in rows})
    slices = sorted({row["slice_start_date"] for row in rows})
    cells: list[Spec] = []
    for row in rows:
        is_whole = row["complete_count"] == row["expected_count"]
        fill = mix(palette.background, palette.up if is_whole else palette.down, 0.35 if is_whole else 0.55)
        cells.append(
            {
                "value": [
                    slices.index(row["slice_start_date"]),
                    names.index(f"{row['provider']}/{row['dataset']}"),
                    round((row["complete_ratio"] or 0) * 100, 1),
                ],
                "itemStyle": {
                    "color": fill,
                    "borderColor": palette.background,
                    "borderWidth": 2,
                    **({} if is_whole else {"decal": hatch(mix(fill, palette.background, 0.5))}),
                },
                "label": {
                    "show": True,
                    "color": max(("#FFFFFF", "#10151C"), key=lambda color: contrast(color, fill)),
                    "formatter": f"{'✓' if is_whole else '!'} {row['complete_count']}/{row['expected_count']}",
                },
            }
        )
    return {
        "animation": False,
        "aria": {"enabled": True},
        "tooltip": {"show": False},
        "grid": {"left": 8, "right": 12, "top": 6, "bottom": 6, "containLabel": True},
        "xAxis": {
            "type": "category",
            "data": [words.day(day) for day in slices],
            "axisTick": {"show": False},
            "axisLine": {"show": False},
        },
        "yAxis": {
            "type": "category",
            "data": names,
            "axisTick": {"show": False},
            "axisLine": {"show": False},
        },
        "series": [{"type": "heatmap", "name": "Complete, %", "data": cells}],
    }


def model_diagram(columns: Sequence[Mapping[str, Any]], tables: Iterable[str]) -> str:
    """The stars as a Mermaid diagram: a key column that is another table's first column is a relation."""
    names = set(tables)
    own: dict[str, list[Mapping[str, Any]]] = {}
    for column in columns:
        if column["table_name"] in names:
            own.setdefault(column["table_name"], []).append(column)
    first = {rows[0]["column_name"]: table for table, rows in own.items() if rows[0]["column_name"].endswith("_key")}
    drawn: list[str] = ["erDiagram"]
    used: set[str] = set()
    for table, rows in sorted(own.items()):
        for column in rows[1:]:
            target = first.get(column["column_name"])
            if target is not None and target != table:
                drawn.append(f'    {target} ||--o{{ {table} : "{column["column_name"]}"')
                used |= {target, table}
    for table, rows in sorted(own.items()):
        keys = [c for i, c in enumerate(rows) if i == 0 or c["column_name"].endswith(("_key", "_id"))]
        drawn.append(f"    {table} {{")
        drawn.extend(
            f"        {column['data_type'].split('(')[0].replace(' ', '_')} {column['column_name']}"
            f"{' PK' if column is rows[0] else ' FK' if column['column_name'] in first else ''}"
            for column in keys
        )
        drawn.append("    }")
    return "\n".join(drawn)
