"""Gold for one more session against gold from nothing: the SQL of the daily price fact, the whole build, memory.

Two lakes, of invented silver files as `normalize` would leave them: ten years of the universe (one range feed, with
splits and quarterly dividends) and a year of the whole market (grouped daily, with a roster and dividends). Each is
published but for its last sessions; then they arrive one by one, and each build continues the one before. At the end
the same silver is built from nothing into another warehouse, and the price fact of both must be the same rows.

SQL seconds are dbt's own, per statement, summed over a model's; two models run at once, so each takes longer than it
would alone. Therefore the statement that computes the fact's rows is also replayed by itself, that of the last session
and that of everything in turns, each on the tables that dbt made for it. Memory is the largest resident set of a dbt
process (Linux).

    .venv/bin/python benchmarks/gold_incremental.py [universe|market] [--years 10] [--tickers 11000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import datetime as dt
import io
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import duckdb
import numpy as np
import orjson
import polars as pl

from market_pipeline import calendar, commit, contracts, gold, layout, providers, reference, seeding, universe
from market_pipeline.dbt_project import DbtProject
from market_pipeline.feed import Instrument
from market_pipeline.normalize import empty_quarantine, empty_silver
from market_pipeline.settings import REPOSITORY
from market_pipeline.store import FolderStore
from market_pipeline.warehouse import Warehouse
from measure import resident_bytes, watched_memory

UNTIL = dt.date(2026, 11, 20)
FACT = ("fact_daily_price",)
FACT_AND_VERSIONS = (
    "int_daily_price_version", "int_daily_price_change", "fact_daily_price_version", "int_daily_price_scope", *FACT
)  # fmt: skip


@dataclass(frozen=True)
class Cost:
    """What a build took. `sql` has the seconds of all statements by model, dbt's own ones too, and `longest` those of
    the longest one, which computes its rows."""

    seconds: float
    sql: dict[str, float]
    longest: dict[str, float]
    peak_bytes: int
    is_continued: bool

    def of(self, models: Sequence[str]) -> float:
        """SQL seconds of some models."""
        return sum(self.sql.get(name, 0.0) for name in models)


class Lake:
    """Invented silver of one feed of raw daily bars, and the warehouse that is built from it."""

    def __init__(self, root: Path, symbols: Sequence[Instrument | str], sessions: Sequence[dt.date]) -> None:
        self.root, self.symbols, self.sessions = root, symbols, sessions
        self.store = FolderStore(root / "lake")
        self.known = universe.load(REPOSITORY / "dbt" / "seeds", is_demo=False)
        self.providers = providers.load()
        self.provider, self.dataset = (
            ("fmp", "eod_raw") if isinstance(symbols[0], Instrument) else ("polygon", "grouped_daily")
        )
        for provider in self.providers.values():
            for feed in provider.feeds:
                key = layout.silver_empty(feed.contract, provider.name, feed.dataset)
                self.store.replace(key, empty_silver(feed.contract))
        self.store.replace(layout.quarantine_empty(), empty_quarantine())
        draw = np.random.default_rng(7)
        returns = draw.normal(0, 0.02, (len(sessions), len(symbols)))
        self.closes = np.round(50 * np.exp(np.cumsum(returns, axis=0)), 4)
        self.opens = np.round(self.closes * (1 + draw.normal(0, 0.005, self.closes.shape)), 4)
        self.volumes = np.round(draw.lognormal(13, 1, self.closes.shape))

    def put(self, contract: str, dataset: str, slice_start: dt.date, rows: dict[str, object]) -> None:
        """One silver file; columns that `rows` lacks are null."""
        schema = dict(contracts.contract(contract).create_empty().schema)
        origin = {
            "provider": self.provider,
            "dataset": dataset,
            "slice_start_date": slice_start,
            "known_at": self.known_at(max(slice_start, self.sessions[0])),
            "bronze_sha256": "0" * 64,
        }
        frame = pl.DataFrame(rows, schema_overrides={k: t for k, t in schema.items() if k in rows}).with_columns(
            pl.lit(value, dtype=schema[name]).alias(name) for name, value in origin.items()
        )
        absent = [pl.lit(None, dtype=t).alias(name) for name, t in schema.items() if name not in frame.columns]
        body = io.BytesIO()
        frame.with_columns(absent).select(list(schema)).write_parquet(body, compression_level=3)
        name = commit.Name(contract, self.provider, dataset, slice_start.isoformat())
        commit.write(self.store, name, body.getvalue(), None, rows=frame.height, rows_quarantined=0, newest_date=None)

    @staticmethod
    def known_at(day: dt.date) -> dt.datetime:
        """When what belongs to a day was fetched."""
        return dt.datetime.combine(day, dt.time(23), tzinfo=dt.UTC)

    def add(self, number: int) -> None:
        """The bars of the session of this number."""
        session, opened, closed = self.sessions[number], self.opens[number], self.closes[number]
        members = [s for s in self.symbols if isinstance(s, Instrument)]
        self.put("bars_daily", self.dataset, session, {
            "symbol": [s.symbol if isinstance(s, Instrument) else s for s in self.symbols],
            "instrument_id": [i.instrument_id for i in members] or [None] * len(self.symbols),
            "session_date": [session] * len(self.symbols),
            "price_basis": ["raw"] * len(self.symbols),
            "open_usd": opened,
            "high_usd": np.maximum(opened, closed) + 0.01,
            "low_usd": np.minimum(opened, closed) - 0.01,
            "close_usd": closed,
            "volume_shares": self.volumes[number],
        })  # fmt: skip

    def add_actions(self) -> None:
        """A dividend a quarter for each symbol, by month of its day, and a split for every tenth of the universe."""
        months: dict[dt.date, list[tuple[Instrument | str, dt.date]]] = defaultdict(list)
        for at, symbol in enumerate(self.symbols):
            for number in range(at % 63, len(self.sessions), 63):
                day = self.sessions[number]
                months[day.replace(day=1)].append((symbol, day))
        for month, rows in months.items():
            actions = [("dividend", symbol, day) for symbol, day in rows]
            if month == self.sessions[len(self.sessions) // 2].replace(day=1) and self.provider == "fmp":
                actions += [("split", s, self.sessions[len(self.sessions) // 2]) for s in self.symbols[::10]]
            for kind in {action[0] for action in actions}:
                mine = [action for action in actions if action[0] == kind]
                named = [s.symbol if isinstance(s, Instrument) else s for _, s, _ in mine]
                self.put("corporate_actions", f"{kind}s", month, {
                    "symbol": named,
                    "instrument_id": [s.instrument_id if isinstance(s, Instrument) else None for _, s, _ in mine],
                    "effective_date": [day for _, _, day in mine],
                    "action_type": [kind] * len(mine),
                    "kind": [kind] * len(mine),
                    **({"split_from": [1.0] * len(mine), "split_to": [2.0] * len(mine)} if kind == "split" else
                       {"cash_amount": [0.1] * len(mine), "currency": ["USD"] * len(mine)}),
                })  # fmt: skip

    def add_roster(self) -> None:
        """One roster of all symbols."""
        count = len(self.symbols)
        figis = [f"BBG{number:09d}" for number in range(count)]
        week = self.sessions[0] - dt.timedelta(days=self.sessions[0].weekday())
        self.put("tickers", "tickers", week, {
            "symbol": self.symbols, "identity": figis, "composite_figi": figis, "listing": ["active"] * count,
            "is_active": [True] * count, "name": [f"Company {s}" for s in self.symbols], "market": ["stocks"] * count,
            "primary_exchange": ["XNAS"] * count, "ticker_type": ["CS"] * count, "currency": ["USD"] * count,
        })  # fmt: skip

    def project(self, **more: str) -> DbtProject:
        """The repository's dbt project on this lake; `more` is added to its environment."""
        return DbtProject(REPOSITORY / "dbt", self.root / "dbt", str(self.root / "lake"), {**os.environ, **more})

    def refer(self, *, on: dt.date) -> pl.DataFrame:
        """Write the reference tables as of a day; what became of each request."""
        frames = reference.tables(self.store, self.providers, self.known, now=self.known_at(on), profile="benchmark")
        reference.write(self.store, frames)
        return frames["outcomes"]

    def publish(self, *, on: dt.date, warehouse: str, is_full_refresh: bool = False) -> Cost:
        """Build, check and publish what is there, and what it took."""
        log = self.root / "dbt" / "dbt.log"
        log.unlink(missing_ok=True)
        outcomes = self.refer(on=on)
        started = time.monotonic()
        with watched_memory(os.getpid(), without=resident_bytes(os.getpid())) as peak:
            report = gold.build(
                self.project(DBT_LOG_FORMAT_FILE="json", DBT_LOG_LEVEL_FILE="debug"),
                self.store,
                Warehouse(self.root / warehouse),
                outcomes=outcomes,
                prefixes=("silver/", "quarantine/", "reference/"),
                profile="benchmark",
                now=self.known_at(on),
                is_full_refresh=is_full_refresh,
                keep=2,
            )
            seconds = time.monotonic() - started
        return Cost(seconds, *_sql_seconds(log), peak(), report.continued is not None)


def _sql_seconds(log: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of all SQL, and of the longest statement, by model, from dbt's log."""
    all_: dict[str, float] = defaultdict(float)
    longest: dict[str, float] = defaultdict(float)
    for line in log.read_bytes().splitlines():
        event = orjson.loads(line)
        if event["info"]["name"] == "SQLQueryStatus":
            name, seconds = event["data"].get("node_info", {}).get("node_name", ""), float(event["data"]["elapsed"])
            all_[name] += seconds
            longest[name] = max(longest[name], seconds)
    return all_, longest


def replayed(lake: Lake, *, turns: int = 9) -> tuple[tuple[float, float], tuple[float, float]]:
    """Median seconds of the fact's statement alone, by the clock and by the processor: for the session that has just
    come, and for everything. Nothing is published."""
    lake.refer(on=lake.sessions[-1])
    published = Warehouse(lake.root / "continued")
    current = published.current()
    if current is None:
        raise SystemExit("nothing is published yet")
    sides: list[tuple[duckdb.DuckDBPyConnection, str]] = []
    for name, count in (("one", len(lake.symbols)), ("all", len(lake.symbols) * len(lake.sessions))):
        folder = lake.root / name
        folder.mkdir()
        if name == "one":
            seeding.seed(folder, lake.store, published.folder / current.file, current.incremental)
        else:
            seeding.begin(folder, lake.store)
        done = lake.project().run("run", "--select", f"+{FACT[0]}", folder=folder)
        if done.returncode != 0:
            raise SystemExit(done.stdout[-2000:])
        compiled = lake.root / "dbt" / "compiled" / "market_pipeline" / "models" / "marts" / f"{FACT[0]}.sql"
        limits: dict[str, str | bool | int | float | list[str]] = {"threads": 2, "memory_limit": "600MB"}
        con = duckdb.connect(str(folder / seeding.BUILD), config=limits)
        con.execute("set preserve_insertion_order = false")
        con.execute(f"attach '{folder / seeding.BEFORE}' as before (read_only)")
        sides.append((con, f"create or replace table replayed as {compiled.read_text()}"))
        rows = con.execute(f"select count(*) from ({compiled.read_text()})").fetchone()  # noqa: S608 - dbt's own text
        if rows != (count,):
            raise SystemExit(f"the statement of {name} gives {rows} rows, not {count}")
    found: tuple[list[tuple[float, float]], list[tuple[float, float]]] = ([], [])
    for _ in range(turns):
        for side, (con, sql) in enumerate(sides):
            clock, processor = time.perf_counter(), time.process_time()
            con.execute(sql)
            found[side].append((time.perf_counter() - clock, time.process_time() - processor))
    for con, _ in sides:
        con.close()
    one, all_ = ((median(c for c, _ in side), median(p for _, p in side)) for side in found)
    return one, all_


def same_prices(left: Path, right: Path) -> int:
    """Rows of the price fact in both; different ones end the benchmark."""
    with duckdb.connect() as con:
        for name, file in (("a", left), ("b", right)):
            con.execute(f"attach '{file}' as {name} (read_only)")
        types = dict(con.execute("select name, type from pragma_table_info('a.fact_daily_price')").fetchall())
        differs = " or ".join(
            f"coalesce(abs(x.{c} - y.{c}) > 1e-12 * greatest(1, abs(x.{c})), (x.{c} is null) <> (y.{c} is null))"
            if t == "DOUBLE"
            else f"x.{c} is distinct from y.{c}"
            for c, t in types.items()
        )
        joined = "a.fact_daily_price x full join b.fact_daily_price y using (daily_price_key)"
        absent = "x.daily_price_key is null or y.daily_price_key is null"
        sql = f"select count(*), count(*) filter (where {absent} or {differs}) from {joined}"  # noqa: S608 - our names
        rows, different = con.execute(sql).fetchone() or (0, 0)
    if different:
        raise SystemExit(f"{different} of {rows} rows differ between a continued build and one from nothing")
    return int(rows)


def measure(lake: Lake, *, rounds: int) -> None:
    """Publish all but the last sessions, then these one by one, then everything from nothing; print the ratios."""
    lake.add_actions()
    if lake.provider == "polygon":
        lake.add_roster()
    count = len(lake.sessions)
    for number in range(count - rounds):
        lake.add(number)
    first = lake.publish(on=lake.sessions[count - rounds - 1], warehouse="continued")
    added: list[Cost] = []
    for number in range(count - rounds, count):
        lake.add(number)
        if number == count - 1:
            alone = replayed(lake)
        cost = lake.publish(on=lake.sessions[number], warehouse="continued")
        if not cost.is_continued:
            raise SystemExit("the build did not continue the one before")
        added.append(cost)
    full = lake.publish(on=lake.sessions[-1], warehouse="full", is_full_refresh=True)
    folders = [Warehouse(lake.root / name) for name in ("continued", "full")]
    rows = same_prices(*(w.folder / w.current().file for w in folders if w.current() is not None))  # type: ignore[union-attr]
    best = min(added, key=lambda cost: cost.of(FACT))
    print(f"{count} sessions of {len(lake.symbols)} symbols, {rows:,} rows in the price fact, equal in both builds")
    for what, one, all_ in zip(("by the clock", "of the processor"), *alone, strict=True):
        told = f"one more session {one:.3f} s, from nothing {all_:.3f} s: {one / all_:.1%}"
        print(f"  the fact's statement alone, in turns, seconds {what}: {told}")
    one, all_ = (min(cost.longest[FACT[0]] for cost in costs) for costs in (added, [first, full]))
    print(f"  the same in the build: one more session {one:.3f} s, from nothing {all_:.3f} s: {one / all_:.1%}")
    for what, models in (("all SQL of its model", FACT), ("with its versions", FACT_AND_VERSIONS)):
        one, all_ = best.of(models), min(first.of(models), full.of(models))
        print(f"  {what}: one more session {one:.3f} s, from nothing {all_:.3f} s: {one / all_:.1%}")
    one, all_ = min(c.seconds for c in added), min(first.seconds, full.seconds)
    print(f"  build, checks, publication: one more session {one:.1f} s, from nothing {all_:.1f} s: {one / all_:.1%}")
    for what, costs in (("one more session", added), ("from nothing", [first, full])):
        print(f"  memory of dbt, {what}: {max(c.peak_bytes for c in costs) / 2**20:.0f} MiB")


def main() -> None:
    """Measure one or both lakes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", nargs="?", choices=("universe", "market"))
    parser.add_argument("--years", type=int, default=10, help="of the universe")
    parser.add_argument("--tickers", type=int, default=11_000, help="of the whole market")
    parser.add_argument("--rounds", type=int, default=3, help="sessions that arrive one by one")
    given = parser.parse_args()
    if given.rounds < 1:
        parser.error("one session at least must arrive")
    closed = [day for day in calendar.session_dates() if day <= UNTIL]
    if given.which in (None, "universe"):
        known = universe.load(REPOSITORY / "dbt" / "seeds", is_demo=False)
        members = [i for i in known.members(on=UNTIL) if i.asset_class != "index"]
        with tempfile.TemporaryDirectory() as folder:
            measure(Lake(Path(folder), members, closed[-252 * given.years - given.rounds :]), rounds=given.rounds)
    if given.which in (None, "market"):
        symbols = [f"Z{number:05d}" for number in range(given.tickers)]
        with tempfile.TemporaryDirectory() as folder:
            measure(Lake(Path(folder), symbols, closed[-252 - given.rounds :]), rounds=given.rounds)


if __name__ == "__main__":
    main()
