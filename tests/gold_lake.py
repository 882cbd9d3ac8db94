"""A small lake with everything that gold has rules for: four weekly snapshots of a fictional market, written as
Parquet. Expected numbers do not come from here: `gold_oracle` computes them from the same rows.
"""

from __future__ import annotations

import csv
import datetime as dt
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from market_pipeline import calendar, contracts, history, layout, reference
from market_pipeline.feed import Provider
from market_pipeline.normalize import QUARANTINE

UTC = dt.UTC
WEEK = dt.timedelta(days=7)
AS_OF = dt.datetime(2026, 11, 18, 23, tzinfo=UTC)
SLICES = tuple(dt.date(2026, 10, 26) + i * WEEK for i in range(4))
# The second slice is fetched on a Wednesday and again on Saturday, the last one only on Wednesday: its week is running.
FETCHED = (
    dt.datetime(2026, 10, 31, 1, tzinfo=UTC),
    dt.datetime(2026, 11, 4, 18, tzinfo=UTC),
    dt.datetime(2026, 11, 14, 1, tzinfo=UTC),
    dt.datetime(2026, 11, 18, 18, tzinfo=UTC),
)
REFETCHED = dt.datetime(2026, 11, 7, 1, tzinfo=UTC)
MAIN, OTHER = "alpha_vantage", "otherfeed"
PRIORITY = {MAIN: 100, OTHER: 200}
WEEKLY, PROFILES = "weekly_adjusted", "overview"
IBM = "ibm"


@dataclass(frozen=True, slots=True)
class Member:
    """One fictional instrument. Weeks are counted backwards from the newest one, 0."""

    instrument_id: str
    weeks: int = 70
    sector: str | None = "Technology"
    asset_class: str = "stock"
    dividends: dict[int, float] = field(default_factory=dict)
    split: tuple[int, float] | None = None
    growth: float | None = None  # the same exact ratio every week, so that returns differ by rounding noise only
    missing: tuple[int, ...] = ()
    last_week: int = 0
    symbols: tuple[tuple[str, dt.date, dt.date | None], ...] = ()

    @property
    def symbol(self) -> str:
        """Spelling in force."""
        return self.symbols[-1][0] if self.symbols else self.instrument_id.upper()


MEMBERS = (
    Member("plain", weeks=130),
    Member("restated", sector="Energy"),
    Member("payer", weeks=90, dividends={2: 0.6, 14: 0.55, 27: 0.5}),
    Member("splitter", weeks=80, split=(1, 4.0)),
    Member(
        "renamed", symbols=(("OLDN", dt.date(2020, 1, 1), dt.date(2026, 10, 1)), ("NEWN", dt.date(2026, 10, 1), None))
    ),
    Member("delisted", sector="Energy", last_week=5),
    Member("gapped", weeks=120, missing=(60,)),
    Member("still", weeks=60, growth=1.0, sector="Utilities"),
    Member("steady", weeks=60, growth=1.01, sector="Utilities"),
    Member("withdrawn"),
    Member("rejected"),
    Member("short"),
    Member("young", weeks=20),
    Member("fund", sector=None, asset_class="etf"),
    Member("sectorfund", sector="Energy", asset_class="etf"),
    Member("homeless", sector=None),
    Member("reclassified", sector="Energy"),
    Member("shared"),
)
RECLASSIFIED_ON = dt.date(2026, 11, 13)  # the New York day of the third fetch


def monday(back: int) -> dt.date:
    """Monday of the week that lies `back` weeks before the newest one."""
    return SLICES[-1] - back * WEEK


def closes_at(week: dt.date) -> dt.datetime:
    """Close of the last session of a week, straight from the exchange calendar."""
    days = calendar.days(2027).filter(
        pl.col("is_session"), pl.col("calendar_date").is_between(week, week + WEEK - dt.timedelta(days=1))
    )
    last: dt.datetime = days.get_column("closes_at")[-1]
    return last


def last_session(week: dt.date) -> dt.date:
    """Last session of a week."""
    return closes_at(week).date()


def _raw(member: Member) -> dict[dt.date, dict[str, Any]]:
    """The true bars, raw, as the whole history would show them at the end."""
    draw = random.Random(member.instrument_id)
    price, bars = 40.0, {}
    for back in range(member.weeks - 1, member.last_week - 1, -1):
        if member.split and back == member.split[0]:
            price /= member.split[1]
        price *= 1 + draw.gauss(0, 0.03)
        close = 40 * member.growth**-back if member.growth else round(price, 4)
        spread = 0.0 if member.growth else abs(draw.gauss(0, 0.01))
        high, low = max(close, round(close * (1 + spread), 4)), min(close, round(close * (1 - spread), 4))
        bars[monday(back)] = {
            "session_date": last_session(monday(back)),
            "open_usd": max(low, min(high, round(close * (1 - spread / 2), 4))),
            "high_usd": high,
            "low_usd": low,
            "close_usd": close,
            "volume_shares": 1_000_000 if member.growth else draw.randrange(500_000, 2_000_000),
            "dividend_usd": member.dividends.get(back, 0.0),
        }
    return {week: bar for week, bar in bars.items() if week not in {monday(back) for back in member.missing}}


def _adjusted(member: Member, bars: dict[dt.date, dict[str, Any]]) -> dict[dt.date, dict[str, Any]]:
    """The vendor's adjusted close: every later dividend and split takes its part of the earlier weeks."""
    factor, found = 1.0, {}
    weeks = sorted(bars)
    for i in range(len(weeks) - 1, -1, -1):
        week, bar = weeks[i], bars[weeks[i]]
        found[week] = {
            **bar,
            "adjusted_close_usd": bar["close_usd"] if member.growth else round(bar["close_usd"] * factor, 4),
        }
        if i and bar["dividend_usd"]:
            factor *= 1 - bar["dividend_usd"] / bars[weeks[i - 1]]["close_usd"]
        if member.split and week == monday(member.split[0]):
            factor /= member.split[1]
    return dict(sorted(found.items()))


def _answer(member: Member, number: int) -> dict[dt.date, dict[str, Any]]:
    """What the provider said of a member in snapshot `number` (0-3)."""
    bars = {week: dict(bar) for week, bar in _raw(member).items() if week <= SLICES[number]}
    if number == 3 and SLICES[3] in bars:
        bars[SLICES[3]]["session_date"] = dt.date(2026, 11, 17)
    if member.instrument_id == "restated":
        if number >= 2:
            bars[monday(10)]["close_usd"] = round(bars[monday(10)]["close_usd"] * 1.001, 4)
            bars[monday(10)]["high_usd"] = max(bars[monday(10)]["high_usd"], bars[monday(10)]["close_usd"])
            bars[monday(10)]["low_usd"] = min(bars[monday(10)]["low_usd"], bars[monday(10)]["close_usd"])
        if number == 1:
            bars[monday(20)]["volume_shares"] += 7  # A, B, A
    found = _adjusted(member, bars)
    if member.instrument_id in ("withdrawn", "rejected") and number == 3:
        del found[monday(30)]
    if member.instrument_id == "withdrawn" and number == 1:
        del found[monday(40)]  # and back in the next one
    if member.instrument_id == "short" and number >= 2:
        found = {week: bar for week, bar in found.items() if week >= monday(55)}
    return found


def silver_bars() -> list[dict[str, Any]]:
    """Every silver row of the fictional market, as `normalize` would keep them."""
    rows: list[dict[str, Any]] = []
    for member in MEMBERS:
        for number in range(len(SLICES)):
            if member.instrument_id == "delisted" and number == 3:
                continue  # the provider no longer answers: nothing is withdrawn by silence
            for week, bar in _answer(member, number).items():
                row = _row(member, MAIN, number, week, bar)
                if number == 1 and week == SLICES[1]:
                    early = {**row, "session_date": dt.date(2026, 11, 3), "volume_shares": row["volume_shares"] // 2}
                    rows += [early, {**row, "known_at": REFETCHED}]
                else:
                    rows.append(row)
    shared = next(m for m in MEMBERS if m.instrument_id == "shared")
    rows += [_row(shared, OTHER, 2, week, {**bar, "volume_shares": 1}) for week, bar in _answer(shared, 2).items()]
    second_only = Member("second", weeks=60)
    rows += [_row(second_only, OTHER, 2, w, b) for w, b in _answer(second_only, 2).items()]
    return rows


def _row(member: Member, provider: str, number: int, week: dt.date, bar: dict[str, Any]) -> dict[str, Any]:
    """One silver row of snapshot `number`."""
    return {
        "instrument_id": member.instrument_id,
        "symbol": member.symbol,
        "provider": provider,
        "dataset": WEEKLY,
        "slice_start_date": SLICES[number],
        "known_at": FETCHED[number],
        "bronze_sha256": "0" * 64,
        "week_start_date": week,
        **bar,
    }


def captured_bars(file: Path) -> list[dict[str, Any]]:
    """Silver rows of a captured CSV body of TIME_SERIES_WEEKLY_ADJUSTED, read with the standard library."""
    names = ("open_usd", "high_usd", "low_usd", "close_usd", "adjusted_close_usd")
    rows = []
    with file.open(encoding="utf-8", newline="") as lines:
        for line in csv.reader(lines):
            if line[0] == "timestamp":
                continue
            day = dt.date.fromisoformat(line[0])
            week = day - dt.timedelta(days=day.weekday())
            bar = {
                "session_date": day,
                **dict(zip(names, map(float, line[1:6]), strict=True)),
                "volume_shares": int(line[6]),
                "dividend_usd": float(line[7]),
            }
            rows.append(_row(Member(IBM), MAIN, 0, week, bar))
    return rows


def symbol_of(instrument: str, session: dt.date) -> str:
    """Spelling in force on a day; the present one before the history begins."""
    member = next((m for m in MEMBERS if m.instrument_id == instrument), Member(instrument))
    spelled = [s for s, since, until in member.symbols if since <= session and (until is None or session < until)]
    return spelled[0] if spelled else member.symbol


def sector_of(instrument: str, session: dt.date) -> str | None:
    """Sector in force on a day."""
    if instrument == "reclassified":
        return "Utilities" if session >= RECLASSIFIED_ON else "Energy"
    if instrument in ("second", IBM):
        return "Technology"
    # A fund belongs to no sector, whatever the file says of it.
    member = next(m for m in MEMBERS if m.instrument_id == instrument)
    return None if member.asset_class == "etf" else member.sector


def write(lake: Path, bars: list[dict[str, Any]], loaded: Mapping[str, Provider]) -> None:
    """Silver, quarantine and reference files of a lake with these bars, and an empty file for each feed of `loaded`."""
    schema = contracts.contract("bars_weekly_adjusted")
    frame = pl.DataFrame(bars, schema=schema.create_empty().schema)
    for (provider, start), part in frame.partition_by("provider", "slice_start_date", as_dict=True).items():
        _put(
            lake / layout.silver_part("bars_weekly_adjusted", str(provider), WEEKLY, f"{start}"), schema.validate(part)
        )
    profiles = contracts.contract("company_profile")
    empty = profiles.create_empty()
    for name, found in loaded.items():
        for feed in found.feeds:
            _put(
                lake / layout.silver_empty(feed.contract, name, feed.dataset),
                contracts.contract(feed.contract).create_empty(),
            )
    for start, known_at, sector in ((SLICES[0], FETCHED[0], "ENERGY"), (SLICES[2], FETCHED[2], "UTILITIES")):
        about = {
            "provider": MAIN, "dataset": PROFILES, "slice_start_date": start, "known_at": known_at,
            "bronze_sha256": "0" * 64,
        }  # fmt: skip
        rows: list[dict[str, Any]] = [
            {"instrument_id": "reclassified", "symbol": "RECLASSIFIED", "name": "Reclassified Inc", "sector": sector},
            {"instrument_id": "plain", "symbol": "PLAIN", "name": "Plain Inc", "sector": "technology"},
        ]
        rows[1]["pe_ratio"] = 20.0 + start.day
        filled = [{column: {**about, **row}.get(column) for column in empty.columns} for row in rows]
        part = profiles.validate(pl.DataFrame(filled, schema=empty.schema))
        _put(lake / layout.silver_part("company_profile", MAIN, PROFILES, start.isoformat()), part)
    _put(lake / layout.quarantine_empty(), pl.DataFrame(schema=QUARANTINE))
    _put(lake / layout.quarantine_part("bars_weekly_adjusted", MAIN, WEEKLY, SLICES[3].isoformat()), _rejected())
    for name, table in _reference({row["instrument_id"] for row in bars}).items():
        _put(lake / layout.reference(name), table)


def _rejected() -> pl.DataFrame:
    row = {
        "provider": MAIN, "dataset": "weekly_adjusted", "contract": "bars_weekly_adjusted",
        "slice_start_date": SLICES[3], "instrument_id": "rejected", "symbol": "REJECTED", "rule": "volume_shares|min",
        "row_json": f'{{"session_date":"{last_session(monday(30))}","volume_shares":"-5"}}',
        "bronze_key": "bronze/alpha_vantage/weekly_adjusted/slice=2026-11-16/REJECTED.0.csv", "known_at": FETCHED[3],
    }  # fmt: skip
    return pl.DataFrame([row, {**row, "rule": "low_is_lowest"}], schema=QUARANTINE)


def _reference(instruments: set[str]) -> dict[str, pl.DataFrame]:
    known = {m.instrument_id: m for m in MEMBERS}
    members = [known.get(name, Member(name)) for name in sorted(instruments)]
    described = [
        {
            "instrument_id": m.instrument_id, "symbol": m.symbol, "name": f"{m.instrument_id} from file",
            "asset_class": m.asset_class, "exchange": "NYSE", "currency": "USD", "sector": m.sector, "industry": None,
            "listed_date": dt.date(1990, 1, 2), "is_followed": True,
            "delisted_date": last_session(monday(5)) if m.instrument_id == "delisted" else None,
        }
        for m in members
    ]  # fmt: skip
    feeds = [
        {
            "provider": provider, "dataset": dataset, "contract": contract, "endpoint": "E", "title": provider,
            "description": "D", "delay": "none", "adjustment": "none", "licence_note": "none", "grain": "week",
            "is_snapshot": True, "priority": PRIORITY[provider],
        }
        for provider in PRIORITY
        for dataset, contract in (("weekly_adjusted", "bars_weekly_adjusted"), ("overview", "company_profile"))
    ]  # fmt: skip
    outcomes = [
        {
            "provider": MAIN, "dataset": "weekly_adjusted", "contract": "bars_weekly_adjusted", "reason": "",
            "slice_start_date": start, "slice_end_date": start + WEEK, "request": name.upper(),
            "instrument_id": name, "symbol": name.upper(),
            "outcome": "failed" if name == "delisted" and start == SLICES[3] else "fetched", "fetched_at": known_at,
        }
        for name in ("plain", "delisted")
        for start, known_at in zip(SLICES, FETCHED, strict=True)
    ]  # fmt: skip
    spellings = [(m.instrument_id, s, s, since, until) for m in members for s, since, until in m.symbols]
    return {
        "calendar": calendar.days(2027),
        "instruments": pl.DataFrame(
            described, schema_overrides={"sector": pl.String, "industry": pl.String, "delisted_date": pl.Date}
        ),
        "symbols": pl.DataFrame(
            spellings,
            schema={
                "instrument_id": pl.String,
                "symbol": pl.String,
                "market_symbol": pl.String,
                "valid_from": pl.Date,
                "valid_to": pl.Date,
            },
            orient="row",
        ),
        "sources": pl.DataFrame(feeds),
        "outcomes": pl.DataFrame(outcomes, schema=reference.OUTCOMES),
        "silver_slices": pl.DataFrame(schema=reference.SLICES),
        "pipeline_runs": pl.DataFrame(schema=history.RUNS),
        "build": pl.DataFrame(
            {"as_of": [AS_OF], "profile": ["test"]}, schema={"as_of": pl.Datetime("us", "UTC"), "profile": pl.String}
        ),
    }


def _put(path: Path, frame: pl.DataFrame) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(path)
