"""A gold that continues the last generation equals one that is built from nothing, whatever changed in silver.

One lake is changed step by step, and gold is built on top of the last generation after each. After the last step (with
MARKET_PIPELINE_TEST_GOLD=long after every one) it is built from nothing too, in a warehouse of its own. Keys, texts,
dates and whole numbers must be the same, floats within 1e-12: parallel sums are not stable to the bit.
"""

from __future__ import annotations

import datetime as dt
import math
import os
import random
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from market_pipeline import calendar, contracts, gold, layout, providers, reference
from market_pipeline.commit import Name
from market_pipeline.dbt_project import DbtProject
from market_pipeline.feed import Instrument
from market_pipeline.normalize import QUARANTINE
from market_pipeline.settings import REPOSITORY
from market_pipeline.store import FolderStore
from market_pipeline.universe import Spelling, Universe
from market_pipeline.warehouse import Warehouse
from silver_files import put_slice

pytestmark = pytest.mark.slow

NOW = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)
SESSIONS = calendar.sessions(dt.date(2025, 9, 1), dt.date(2026, 11, 20))  # 306: longer than any window
FOLLOWED = ("AAA", "BBB", "CCC")
STRANGERS = ("DDD", "EEE")  # only the whole market's bars know them
TABLES = (
    "fact_daily_price_version",
    "fact_daily_price",
    "fact_corporate_action",
    "dim_price_anchor",
    "dim_instrument",
    "dim_symbol_history",
    "agg_stock_weekly_metrics",
    "mart_reconciliation",
    "mart_restatement",
)


def close(symbol: str, session: dt.date) -> float:
    """An invented close: a wave of its own per symbol, with noise that depends on nothing but the two."""
    draw = random.Random(f"{symbol}{session}")
    day = session.toordinal()
    return round(50 + 10 * math.sin(day / 40 + len(symbol) * ord(symbol[0])) + draw.uniform(-1, 1), 2)


class Lake:
    """Silver files that a test changes, and the reference files that go with them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store = folder, FolderStore(folder)
        self.loaded = providers.load()
        for provider in self.loaded.values():
            for feed in provider.feeds:
                empty = contracts.contract(feed.contract).create_empty()
                self.put(layout.silver_empty(feed.contract, provider.name, feed.dataset), empty)
        self.put(layout.quarantine_empty(), pl.DataFrame(schema=QUARANTINE))
        self.actions: list[dict[str, Any]] = []
        for session in SESSIONS[:-3]:
            self.market(session)
            self.range(session)
        self.split("BBB", SESSIONS[150], 1, 2, action_id="S1")
        self.dividend("AAA", SESSIONS[200], "0.35")

    def put(self, key: str, frame: pl.DataFrame) -> None:
        """Write one file."""
        path = Path(self.store.url(key))
        path.parent.mkdir(parents=True, exist_ok=True)
        frame.write_parquet(path)

    def market(self, session: dt.date, *, changed: dict[str, float] | None = None, without: str = "") -> None:
        """Polygon's session of all symbols. `changed` closes are a second version, known a day later."""
        known_at = dt.datetime.combine(session, dt.time(23), dt.UTC)
        rows = [self.bar("polygon", "grouped_daily", s, session, known_at) for s in (*FOLLOWED, *STRANGERS)]
        for symbol, value in (changed or {}).items():
            later = known_at + dt.timedelta(days=1)
            rows.append(self.bar("polygon", "grouped_daily", symbol, session, later, value=value))
        self.bars("polygon", "grouped_daily", session, [row for row in rows if row["symbol"] != without])

    def range(self, session: dt.date, *, changed: dict[str, float] | None = None) -> None:
        """FMP's session of the followed symbols."""
        known_at = dt.datetime.combine(session, dt.time(23, 30), dt.UTC)
        values = changed or {}
        rows = [self.bar("fmp", "eod_raw", s, session, known_at, value=values.get(s)) for s in FOLLOWED]
        self.bars("fmp", "eod_raw", session, rows)

    def bars(self, provider: str, dataset: str, session: dt.date, rows: list[dict[str, Any]]) -> None:
        """One silver slice of daily bars."""
        schema = contracts.contract("bars_daily")
        empty = schema.create_empty()
        filled = [{column: row.get(column) for column in empty.columns} for row in rows]
        frame = schema.validate(pl.DataFrame(filled, schema=empty.schema))
        put_slice(self.store, Name("bars_daily", provider, dataset, session.isoformat()), frame)

    def bar(
        self, provider: str, dataset: str, symbol: str, session: dt.date, known_at: dt.datetime, *,
        value: float | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """A sound row."""
        price = close(symbol, session) if value is None else value
        return {
            "instrument_id": f"id-{symbol}" if provider == "fmp" else None,
            "symbol": symbol,
            "provider": provider,
            "dataset": dataset,
            "slice_start_date": session,
            "known_at": known_at,
            "bronze_sha256": "0" * 64,
            "session_date": session,
            "price_basis": "raw",
            "open_usd": price,
            "high_usd": price * 1.01,
            "low_usd": price * 0.99,
            "close_usd": price,
            "volume_shares": 1000.0 + session.day,
        }

    def split(self, symbol: str, day: dt.date, old: float, new: float, *, action_id: str | None = None) -> None:
        """A split that Polygon tells of on its day; one with the id of an earlier one is that one, moved."""
        about = {"action_type": "split", "kind": "split", "action_id": action_id}
        self._act(symbol, day, **about, split_from=old, split_to=new)

    def dividend(self, symbol: str, day: dt.date, amount: str) -> None:
        """A dividend that Polygon tells of."""
        self._act(symbol, day, action_type="dividend", kind="CD", cash_amount=Decimal(amount), currency="USD")

    def _act(self, symbol: str, day: dt.date, **columns: object) -> None:
        start = day.replace(day=1)
        dataset = "splits" if columns["action_type"] == "split" else "dividends"
        about = {
            "symbol": symbol,
            "provider": "polygon",
            "dataset": dataset,
            "slice_start_date": start,
            "known_at": dt.datetime.combine(day, dt.time(12), dt.UTC),
            "bronze_sha256": "1" * 64,
            "effective_date": day,
        }
        self.actions.append({**about, **columns})
        schema = contracts.contract("corporate_actions")
        empty = schema.create_empty()
        here = [a for a in self.actions if (a["dataset"], a["slice_start_date"]) == (dataset, start)]
        frame = pl.DataFrame([{c: row.get(c) for c in empty.columns} for row in here], schema=empty.schema)
        put_slice(self.store, Name("corporate_actions", "polygon", dataset, f"{start}"), schema.validate(frame))

    def tables(self) -> dict[str, pl.DataFrame]:
        """Reference files for what the lake holds now."""
        universe = Universe(
            tuple(
                Instrument(f"id-{s}", s, f"{s} Inc", "stock", "NYSE", "USD", "Energy", None, dt.date(2000, 1, 3))
                for s in FOLLOWED
            ),
            frozenset(f"id-{s}" for s in FOLLOWED),
            tuple(Spelling(f"id-{s}", s, dt.date(1990, 1, 1), None) for s in FOLLOWED),
        )
        found = reference.tables(self.store, self.loaded, universe, now=NOW, profile="test")
        reference.write(self.store, found)
        return found


class Gold:
    """A warehouse of a lake."""

    def __init__(self, lake: Lake, folder: Path) -> None:
        self.lake = lake
        self.warehouse = Warehouse(folder / "warehouse")
        self.project = DbtProject(REPOSITORY / "dbt", folder / "target", str(lake.folder), {**os.environ, "TZ": "UTC"})

    def build(self, *, anew: bool = False) -> gold.GoldReport:
        """The next generation."""
        return gold.build(
            self.project,
            self.lake.store,
            self.warehouse,
            outcomes=self.lake.tables()["outcomes"],
            prefixes=("quarantine/", "reference/"),
            profile="test",
            now=NOW,
            keep=3,
            is_full_refresh=anew,
        )

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        """A published table by its first column, which is its key."""
        current = self.warehouse.current()
        assert current is not None
        with duckdb.connect(str(self.warehouse.folder / current.file), read_only=True) as connection:
            connection.execute("set TimeZone = 'UTC'")
            return connection.execute(f"select * from {table} order by 1, 2, 3").fetchall()


def differences(ours: list[tuple[Any, ...]], theirs: list[tuple[Any, ...]]) -> Iterator[str]:
    """Where two tables differ by more than the last digits of their floats."""
    if len(ours) != len(theirs):
        yield f"{len(ours)} rows against {len(theirs)}"
        return
    for mine, other in zip(ours, theirs, strict=True):
        for a, b in zip(mine, other, strict=True):
            is_float = isinstance(a, float) and isinstance(b, float)
            if a != b and not (is_float and math.isclose(a, b, rel_tol=1e-12, abs_tol=1e-15)):
                yield f"{mine[0]}: {a!r} against {b!r}"


def late_and_gone(lake: Lake) -> None:
    """A slice that comes late, one that is gone, a late split, one that moved into another month, and a provider whose
    word starts to count."""
    lake.market(SESSIONS[-2])
    gone = Name("bars_daily", "fmp", "eod_raw", f"{SESSIONS[50]}")
    for key in (gone.silver_key, gone.commit_key):
        lake.store.delete(key)
    lake.split("CCC", SESSIONS[100], 1, 4)
    lake.split("BBB", SESSIONS[260], 1, 2, action_id="S1")
    lake.range(SESSIONS[-1])


def one_day(lake: Lake) -> None:
    """The next session, by both providers."""
    lake.market(SESSIONS[-3])
    lake.range(SESSIONS[-3])


def restated(lake: Lake) -> None:
    """One close corrected in the middle, and a symbol that a session no longer has."""
    middle = SESSIONS[120]
    lake.market(middle, changed={"AAA": close("AAA", middle) * 1.5, "DDD": 1.0})
    lake.market(SESSIONS[130], without="EEE")
    lake.dividend("DDD", SESSIONS[140], "0.5")


def all_of_it(lake: Lake) -> None:
    """Both at once."""
    restated(lake)
    late_and_gone(lake)


IS_LONG = os.environ.get("MARKET_PIPELINE_TEST_GOLD") == "long"
STEPS: tuple[Callable[[Lake], None], ...] = (one_day, restated, late_and_gone) if IS_LONG else (one_day, all_of_it)


def test_continued_builds_equal_builds_from_nothing(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    continued = Gold(lake, tmp_path / "continued")
    first = continued.build()
    assert (first.is_new, first.continued) == (True, None)
    assert not continued.build().is_new
    counts = [first.tables["fact_daily_price"]]
    factors = "(select session_date, split_factor, bar_number from fact_daily_price where symbol = 'BBB')"
    for step in STEPS:
        assert [row[1] for row in continued.rows(factors)][:262] == [1.0] * 150 + [2.0] * 112
        step(lake)
        report = continued.build()
        assert report.continued is not None, "the build did not continue the last one"
        counts.append(report.tables["fact_daily_price"])
        if step is not STEPS[-1] and not IS_LONG:
            continue
        anew = Gold(lake, tmp_path / step.__name__)
        assert anew.build(anew=True).continued is None
        for table in TABLES:
            found = list(differences(continued.rows(table), anew.rows(table)))
            assert not found, f"{step.__name__}, {table}: {len(found)} differences, such as {found[:3]}"
    # The split that moved counts on its new day only, also where the prices had been built with the old one.
    assert [row[1] for row in continued.rows(factors)][:262] == [1.0] * 260 + [2.0] * 2
    sessions = len(SESSIONS) - 3
    # Five symbols; then a session of five, a row less, and a session of five and one of FMP's three.
    wanted = [5 * sessions, 5 * sessions + 5, 5 * sessions + 4, 5 * sessions + 4 + 5 + 3]
    assert counts == (wanted if IS_LONG else [*wanted[:2], wanted[3]])
