"""The dashboard's queries through its own loader, uncached, against the same SQL on a plain connection that stays open.

Every query that stands alone is asked for the values that its pages would give: instruments of high and low dollar
volume, all intervals and adjustments. Those of Today and Compare, which read another query's rows, are left out.

On the warehouse that is given, else on a year of the whole market that another
section has left, else on the demo's.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import duckdb

from measure import FOLDER, Figure, child, free_port, timed, watched

QUERIES = FOLDER.parent / "dashboards" / "queries"
INSTRUMENTS = """
    select instrument_id from fact_daily_price
    group by instrument_id
    order by count(*) desc, sum(close_usd * volume_shares) desc
    limit $1
"""


def run(scratch: Path, *, is_quick: bool = False, warehouse: Path | None = None) -> list[Figure]:
    """In a process of its own, for its memory."""
    found = warehouse or next((w for w in _candidates(scratch) if (w / "CURRENT").is_file()), None)
    if found is None:
        environment = {
            **os.environ,
            "MARKET_PIPELINE_HOME": str(scratch),
            "MARKET_PIPELINE_SANDBOX_PORT": f"{free_port()}",
        }
        watched([sys.executable, "-m", "market_pipeline.cli", "demo"], environment)
        found = scratch / "demo" / "warehouse"
    given = child("dashboard", str(found.resolve()), str(scratch), "1" if is_quick else "4")
    rows = f"{given['rows']:,.0f} rows in the price fact; {given['calls']:.0f} calls of {given['queries']:.0f} queries"
    peer = "the same SQL on one open read-only connection"
    figures = [
        Figure(f"{part} of a query", round(given[f"ours_{part}"] * 1000, 1), "ms", rows) for part in ("p50", "p95")
    ]
    figures += [
        Figure(f"{part} to floor", round(given[f"ours_{part}"] / given[f"floor_{part}"], 2), "times", f"over {peer}")
        for part in ("p50", "p95")
    ]
    slowest = f"slowest: {given['slowest']} at {given['slowest_ms']:.0f} ms (median)"
    figures.append(Figure("memory", round(given["peak_mib"]), "MiB", f"of the process that asks; {slowest}"))
    return figures


def _candidates(scratch: Path) -> Iterator[Path]:
    yield scratch.parent / "market_year" / "demo" / "warehouse"
    yield FOLDER.parent / "data" / "demo" / "warehouse"


def _parameters(con: duckdb.DuckDBPyConnection, sql: str, instruments: int) -> Iterator[dict[str, Any]]:
    """The values for the parameters that a query names."""
    newest, week, sector = con.execute(
        """select max(session_date), date_trunc('week', max(session_date))::date,
               (select min(sector) from dim_instrument where is_current and sector is not null)
           from fact_daily_price"""
    ).fetchall()[0]
    values: dict[str, list[Any]] = {
        "instrument_id": [row[0] for row in con.execute(INSTRUMENTS, [instruments]).fetchall()],
        "adjustment": ["raw", "split", "total"],
        "interval": ["day", "week", "month"],
        "cadence": ["session", "week"],
        "since": [newest.replace(year=newest.year - 1)],
        "until": [newest],
        "session_date": [newest],
        "week": [week],
        "sector": [sector or ""],
        "text": ["A", "Z00"],
        "as_of": [f"{newest}T23:00:00+00:00"],
        "known_at": [f"{newest}T23:00:00+00:00"],
    }
    names = sorted(set(re.findall(r"\$([a-z_]+)", sql)))
    if not values.keys() >= set(names):  # a page's own choices, such as a zoom, or a set of symbols
        return
    for picked in product(*(values[name] for name in names)):
        yield dict(zip(names, picked, strict=True))


def _ask(warehouse: Path, scratch: Path, rounds: int) -> dict[str, float | str]:
    """Both sides take turns, call by call."""
    sys.path.insert(0, str(QUERIES.parent))  # as `streamlit run dashboards/app.py` does
    os.environ |= {"MARKET_PIPELINE_HOME": str(warehouse.parents[1]), "MARKET_PIPELINE_PROFILE": warehouse.parent.name}
    import streamlit as st

    import warehouse as door
    from peers.turn import peak_kib

    current = door.generation()
    if current is None:
        sys.exit(f"Nothing is published in {warehouse}")
    times: dict[str, list[float]] = {"ours": [], "floor": []}
    of_query: dict[str, list[float]] = {}
    plain = scratch / current.file  # a file has one configuration in a process, and ours is the guarded one
    shutil.copyfile(warehouse / current.file, plain)
    with duckdb.connect(str(plain), read_only=True) as con:
        con.execute("set TimeZone = 'UTC'")
        files = sorted(QUERIES.glob("*.sql"))
        for number in range(rounds):
            for file in files:
                sql = file.read_text(encoding="utf-8")
                for values in _parameters(con, sql, 4 if rounds > 1 else 1):
                    st.cache_data.clear()
                    ours = timed(lambda: door.answer(file.stem, **values))  # noqa: B023 - called at once
                    floor = timed(lambda: con.execute(sql, values or None).to_arrow_table())  # noqa: B023
                    if number or rounds == 1:  # the first round reads the file from the disk
                        times["ours"].append(ours)
                        times["floor"].append(floor)
                        of_query.setdefault(file.stem, []).append(ours)
    slowest = max(of_query, key=lambda name: sorted(of_query[name])[len(of_query[name]) // 2])
    found: dict[str, float | str] = {
        "calls": len(times["ours"]),
        "queries": len(of_query),
        "rows": current.tables["fact_daily_price"],
        "peak_mib": peak_kib() / 1024,
        "slowest": slowest,
        "slowest_ms": sorted(of_query[slowest])[len(of_query[slowest]) // 2] * 1000,
    }
    for name, seconds in times.items():
        ranked = sorted(seconds)
        found[f"{name}_p50"] = ranked[len(ranked) // 2]
        found[f"{name}_p95"] = ranked[int(len(ranked) * 0.95)]
    return found


if __name__ == "__main__":
    print(json.dumps(_ask(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))))
