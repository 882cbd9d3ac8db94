"""Bronze to silver: a poisoned row is kept apart by name, every version is kept, equal input gives equal bytes."""

from __future__ import annotations

import csv as csv_module
import datetime as dt
import hashlib
import io
import json
import math
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from market_pipeline import judge, layout, manifest
from market_pipeline.contracts import business_key, contract, own_columns
from market_pipeline.errors import HashMismatch, LakeError, ObjectMissing
from market_pipeline.feed import Feed, Outcome
from market_pipeline.ingest import ingest
from market_pipeline.normalize import NormalizeReport, empty_quarantine, empty_silver, normalize
from market_pipeline.partition import Grain, Slice
from market_pipeline.providers.alpha_vantage import PROVIDER
from market_pipeline.store import FolderStore
from wire import NOW, Api, bar, client, commit, csv, instrument, tree, weeks

WEEKLY, OVERVIEW = PROVIDER.feeds[:2]
PART = Slice.at(NOW.date(), grain=Grain.WEEK)
LATER = NOW + dt.timedelta(hours=1)
GOOD = (bar("2026-11-06"), bar("2026-10-30"))


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """An empty lake."""
    return FolderStore(tmp_path / "lake")


def run(store: FolderStore, feed: Feed = WEEKLY, part: Slice = PART) -> NormalizeReport:
    """Normalize, and check what holds for every input."""
    report = normalize(PROVIDER, feed, part, store=store)
    assert report.rows_in == report.rows_kept + report.rows_duplicate + report.rows_rejected
    silver, rejected = read(store, report.silver_key), quarantine(store, feed)
    assert silver.height == report.rows_kept
    assert dict(silver.schema) == dict(contract(feed.contract).create_empty().schema)
    assert contract(feed.contract).is_valid(silver)
    assert sum(count for _, count in report.rejected_by_rule) == rejected.height
    assert rejected.select("bronze_key", "row_json").n_unique() <= report.rows_rejected <= rejected.height
    assert (rejected.height == 0) == (report.rows_rejected == 0)
    return report


def read(store: FolderStore, key: str) -> pl.DataFrame:
    """A Parquet object."""
    return pl.read_parquet(io.BytesIO(store.get(key)), hive_partitioning=False)


def silver(store: FolderStore, feed: Feed = WEEKLY, part: Slice = PART) -> pl.DataFrame:
    """The slice's rows."""
    return read(store, layout.silver_part(feed.contract, PROVIDER.name, feed.dataset, part.key))


def quarantine(store: FolderStore, feed: Feed = WEEKLY, part: Slice = PART) -> pl.DataFrame:
    """The slice's rejected rows."""
    key = layout.quarantine_part(feed.contract, PROVIDER.name, feed.dataset, part.key)
    return read(store, key if store.exists(key) else _empty(store))


def _empty(store: FolderStore) -> str:
    store.replace(layout.quarantine_empty(), empty_quarantine())
    return layout.quarantine_empty()


# Poisoned rows: the line between two good ones, and every rule that must name it.
POISON: dict[str, tuple[str, set[str]]] = {
    "negative open": ("2026-11-13,-5,51,49,50,50,1,0", {"open_usd|min", "low_is_lowest"}),
    "negative prices": (
        "2026-11-13,-5,-4,-6,-5,-5,1,0",
        {f"{c}_usd|min" for c in ("open", "high", "low", "close", "adjusted_close")},
    ),
    "zero open": ("2026-11-13,0,51,49,50,50,1,0", {"open_usd|min", "low_is_lowest"}),
    "zero adjusted close": ("2026-11-13,50,51,49,50,0,1,0", {"adjusted_close_usd|min"}),
    "nan": ("2026-11-13,NaN,51,49,50,50,1,0", {"open_usd|nan", "open_usd|max"}),
    "infinite": ("2026-11-13,50,inf,49,50,50,1,0", {"high_usd|inf", "high_usd|max"}),
    "minus infinite": ("2026-11-13,50,51,-inf,50,50,1,0", {"low_usd|inf", "low_usd|min"}),
    "beyond a float": ("2026-11-13,50,1e400,49,50,50,1,0", {"high_usd|inf", "high_usd|max"}),
    "high below low": ("2026-11-13,50,48,49,50,50,1,0", {"high_is_highest", "low_is_lowest"}),
    "high below close": ("2026-11-13,50,51,49,52,50,1,0", {"high_is_highest"}),
    "low above open": ("2026-11-13,48,51,49,50,50,1,0", {"low_is_lowest"}),
    "text in a price": ("2026-11-13,x,51,49,50,50,1,0", {"open_usd|dtype"}),
    "text in two": ("2026-11-13,x,y,49,50,50,1,0", {"open_usd|dtype", "high_usd|dtype"}),
    "a dot": ("2026-11-13,.,51,49,50,50,1,0", {"open_usd|dtype"}),
    "None": ("2026-11-13,50,51,49,50,None,1,0", {"adjusted_close_usd|dtype"}),
    "an empty field": ("2026-11-13,50,51,49,50,,1,0", {"adjusted_close_usd|dtype"}),
    "a space": ("2026-11-13, 50,51,49,50,50,1,0", {"open_usd|dtype"}),
    "an underscore": ("2026-11-13,5_0,51,49,50,50,1,0", {"open_usd|dtype"}),
    "a currency": ("2026-11-13,$50,51,49,50,50,1,0", {"open_usd|dtype"}),
    "a percentage": ("2026-11-13,50,51,49,50,50,1,1%", {"dividend_usd|dtype"}),
    "foreign digits": ("2026-11-13,\u0665\u0660,51,49,50,50,1,0", {"open_usd|dtype"}),
    "emoji": ("2026-11-13,50,51,49,50,50,📈,0", {"volume_shares|dtype"}),
    "a null byte": ("2026-11-13,50,51,49,50,50,1\x00,0", {"volume_shares|dtype"}),
    "a quote": ('2026-11-13,"50,51,49,50,50,1,0', {"open_usd|dtype"}),
    "a formula": ("2026-11-13,=1+1,51,49,50,50,1,0", {"open_usd|dtype"}),
    "hexadecimal": ("2026-11-13,0x32,51,49,50,50,1,0", {"open_usd|dtype"}),
    "negative volume": ("2026-11-13,50,51,49,50,50,-1,0", {"volume_shares|min"}),
    "a fraction of a share": ("2026-11-13,50,51,49,50,50,1.5,0", {"volume_shares|dtype"}),
    "volume beyond an integer": ("2026-11-13,50,51,49,50,50,9e30,0", {"volume_shares|dtype"}),
    "volume beyond exactness": ("2026-11-13,50,51,49,50,50,9007199254740993.0,0", {"volume_shares|dtype"}),
    "infinite volume": ("2026-11-13,50,51,49,50,50,inf,0", {"volume_shares|dtype"}),
    "volume that is none": ("2026-11-13,50,51,49,50,50,nan,0", {"volume_shares|dtype"}),
    "negative dividend": ("2026-11-13,50,51,49,50,50,1,-0.1", {"dividend_usd|min"}),
    "an absurd price": (
        "2026-11-13,1e200,1e200,1e200,1e200,50,1,0",
        {f"{c}_usd|max" for c in ("open", "high", "low", "close")},
    ),
    "an absurd adjusted price": ("2026-11-13,50,51,49,50,1e200,1,0", {"adjusted_close_usd|max"}),
    "an adjusted price next to nothing": ("2026-11-13,50,51,49,50,1e-320,1,0", {"adjusted_close_usd|min"}),
    "a price next to nothing": ("2026-11-13,50,51,1e-300,50,50,1,0", {"low_usd|min"}),
    "an absurd dividend": ("2026-11-13,50,51,49,50,50,1,1e300", {"dividend_usd|max"}),
    "an absurd volume": ("2026-11-13,50,51,49,50,50,9223372036854775807,0", {"volume_shares|max"}),
    "a day that is none": ("2026-02-30,50,51,49,50,50,1,0", {"session_date|dtype"}),
    "a month that is none": ("2026-13-01,50,51,49,50,50,1,0", {"session_date|dtype"}),
    "a zero date": ("0000-00-00,50,51,49,50,50,1,0", {"session_date|dtype"}),
    "a leap day that is none": ("2025-02-29,50,51,49,50,50,1,0", {"session_date|dtype"}),
    "a short year": ("26-11-13,50,51,49,50,50,1,0", {"session_date|dtype"}),
    "a year with a sign": ("-2026-11-13,50,51,49,50,50,1,0", {"session_date|dtype"}),
    "a plus": ("+2026-11-13,50,51,49,50,50,1,0", {"session_date|dtype"}),
    "a long year": ("+99999-11-13,50,51,49,50,50,1,0", {"session_date|dtype"}),
    "an old year": ("0001-01-05,50,51,49,50,50,1,0", {"session_date|dtype"}),
    "one digit": ("2026-11-3,50,51,49,50,50,1,0", {"session_date|dtype"}),
    "a time": ("2026-11-13 16:00:00,50,51,49,50,50,1,0", {"session_date|dtype"}),
    "american": ("11/13/2026,50,51,49,50,50,1,0", {"session_date|dtype"}),
    "a stamp": ("1763078400,50,51,49,50,50,1,0", {"session_date|dtype"}),
    "an indent": (" 2026-11-13,50,51,49,50,50,1,0", {"session_date|dtype"}),
    "tomorrow": ("2026-11-19,50,51,49,50,50,1,0", {"not_after_fetch"}),
    "far future": ("2999-01-01,50,51,49,50,50,1,0", {"not_after_fetch"}),
    "a blank line": ("", {"session_date|dtype"}),
    "blanks": ("   ", {"session_date|dtype"}),
    "one field too many": ("2026-11-13,50,51,49,50,50,1,0,9", {"dividend_usd|dtype"}),
    "an empty field too many": ("2026-11-13,50,51,49,50,50,1,0,", {"dividend_usd|dtype"}),
    "fields too few": (
        "2026-11-13,50,51,49,50,50",
        {"volume_shares|nullability", "dividend_usd|nullability"},
    ),
    "the header again": (
        "timestamp,open,high,low,close,adjusted close,volume,dividend amount",
        {"session_date|dtype", "volume_shares|dtype", "dividend_usd|dtype"}
        | {f"{c}_usd|dtype" for c in ("open", "high", "low", "close", "adjusted_close")},
    ),
    "an error in the middle": ('{"Information": "spreading out"}', {"session_date|dtype"}),
    "html": ("<html>", {"session_date|dtype"}),
}


@pytest.mark.parametrize("end", ["\r\n", "\n"])
@pytest.mark.parametrize("name", POISON)
def test_a_poisoned_row_is_named_and_the_others_are_loaded(store: FolderStore, name: str, end: str) -> None:
    line, rules = POISON[name]
    commit(store, WEEKLY, PART, {"IBM": [(csv(GOOD[0], line, GOOD[1], end=end), NOW)]})
    report = run(store)
    assert (report.rows_in, report.rows_kept, report.rows_rejected, report.payload_failures) == (3, 2, 1, 0)
    rejected = quarantine(store)
    assert set(rejected.get_column("rule")) == rules
    assert all(re.fullmatch(r"[a-z_]+(\|[a-z_]+)?", rule) for rule in rules)
    (text,) = set(rejected.get_column("row_json"))
    values = [v for k, v in json.loads(text).items() if k != "week_start_date" and v is not None]
    assert ",".join(values) == line
    assert set(rejected.get_column("symbol")) == {"IBM"}
    assert rejected.get_column("bronze_key")[0].startswith("bronze/alpha_vantage/weekly_adjusted/slice=2026-11-16/")
    assert set(rejected.get_column("known_at")) == {NOW}


def test_all_poison_in_one_payload_is_told_apart(store: FolderStore) -> None:
    """The rows share few weeks on purpose: those that can be read are refused as several for one week."""
    lines = [line for line, _ in POISON.values()]
    commit(store, WEEKLY, PART, {"IBM": [(csv(GOOD[0], *lines, GOOD[1]), NOW)]})
    report = run(store)
    assert (report.rows_in, report.rows_kept) == (len(lines) + 2, 2)
    # What is beyond a float is infinite, so these two are one row.
    assert (report.rows_duplicate, report.rows_rejected) == (1, len(lines) - 1)


ACCEPTED = {
    "scientific volume": ("2026-11-13,50,51,49,50,50,1.12117471e+08,0", 112_117_471),
    "decimal volume": ("2026-11-13,50,51,49,50,50,1000.000,0", 1000),
    "large volume": ("2026-11-13,50,51,49,50,50,1e15,0", 10**15),
    "no trade": ("2026-11-13,50,50,50,50,50,0,0", 0),
    "many decimals": ("2026-11-13,50,51,49,50,299.83536210316964,7,0.41", 7),
    "a share of a company": ("2026-11-13,799850.0,812000.5,790000.0,805000.0,805000.0,11,0", 11),
    "a penny": ("2026-11-13,0.0001,0.0002,0.0001,0.0001,0.0001,12,0", 12),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_unusual_but_sound_rows_are_kept(store: FolderStore, name: str) -> None:
    line, volume = ACCEPTED[name]
    commit(store, WEEKLY, PART, {"IBM": [(csv(line, *GOOD), NOW)]})
    assert run(store).rows_kept == 3
    newest = silver(store).sort("session_date").row(-1, named=True)
    assert newest["volume_shares"] == volume
    assert newest["adjusted_close_usd"] == float(line.split(",")[5])
    assert newest["week_start_date"] == dt.date(2026, 11, 9)


def test_exact_duplicates_collapse_and_are_counted(store: FolderStore) -> None:
    commit(store, WEEKLY, PART, {"IBM": [(csv(GOOD[0], GOOD[0], GOOD[1], GOOD[0]), NOW)]})
    report = run(store)
    assert (report.rows_in, report.rows_kept, report.rows_duplicate, report.rows_rejected) == (4, 2, 2, 0)


def test_two_rows_of_one_week_that_differ_are_both_set_aside(store: FolderStore) -> None:
    for other in (bar("2026-11-06", 51), bar("2026-11-05")):
        commit(store, WEEKLY, PART, {"IBM": [(csv(GOOD[0], other, GOOD[1]), NOW)]})
        report = run(store)
        assert (report.rows_kept, report.rows_rejected) == (1, 2)
        assert report.rejected_by_rule == (("conflicting_duplicate", 2),)


def test_a_row_that_cannot_be_read_does_not_take_a_good_one_of_its_week_along(store: FolderStore) -> None:
    commit(store, WEEKLY, PART, {"IBM": [(csv(GOOD[0], GOOD[0].replace("50.0000", "x", 1), "2026-11-6,1,1"), NOW)]})
    report = run(store)
    assert (report.rows_kept, report.rows_rejected) == (1, 2)
    assert dict(report.rejected_by_rule) == {"open_usd|dtype": 1, "session_date|dtype": 1}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\n",
        b"x",
        csv(*GOOD).replace(b"timestamp", b"date"),
        csv(*GOOD).replace(b"low,close", b"close,low"),
        b"\xef\xbb\xbf" + csv(*GOOD),
        b"\xff\xfe\x00",
        b"PAR1" + bytes(100),
    ],
)
def test_a_payload_that_cannot_be_read_is_set_aside_whole(store: FolderStore, body: bytes) -> None:
    commit(store, WEEKLY, PART, {"BAD": [(body, NOW)], "IBM": [(csv(*GOOD), NOW)]})
    report = run(store)
    assert (report.rows_in, report.rows_kept, report.rows_rejected, report.payload_failures) == (3, 2, 1, 1)
    rejected = quarantine(store).row(0, named=True)
    assert (rejected["rule"], rejected["symbol"]) == ("payload_unreadable", "BAD")
    assert hashlib.sha256(body).hexdigest() in rejected["bronze_key"]


def test_broken_letters_spoil_one_row_only(store: FolderStore) -> None:
    commit(store, WEEKLY, PART, {"IBM": [(csv(GOOD[0], "2026-11-13,5@0,51,49,50,50,1,0").replace(b"@", b"\xff"), NOW)]})
    report = run(store)
    assert (report.rows_kept, report.rejected_by_rule) == (1, (("open_usd|dtype", 1),))


def test_a_header_without_rows_gives_no_rows(store: FolderStore) -> None:
    commit(store, WEEKLY, PART, {"IBM": [(csv(), NOW)]})
    assert run(store).rows_in == 0


# Company profiles


def profile(**members: object) -> bytes:
    """An overview with these members; one of None is left out."""
    body = {"Symbol": "IBM", "Name": "Sample Works", "Currency": "USD", "CIK": "51143", "Beta": "0.7", **members}
    return json.dumps({k: v for k, v in body.items() if v is not None}).encode()


PROFILES: dict[str, tuple[dict[str, object], set[str]]] = {
    "text in a number": ({"Beta": "n.m."}, {"beta|dtype"}),
    "infinite": ({"Beta": "inf"}, {"beta|inf"}),
    "nan": ({"PERatio": "NaN"}, {"pe_ratio|nan"}),
    "negative capitalization": ({"MarketCapitalization": "-1"}, {"market_capitalization|min"}),
    "half a share": ({"SharesOutstanding": "10.5"}, {"shares_outstanding|dtype"}),
    "negative shares": ({"SharesOutstanding": "-10"}, {"shares_outstanding|min"}),
    "a currency that is none": ({"Currency": "DOLLAR"}, {"currency|regex"}),
    "a register number that is none": ({"CIK": "12345678901"}, {"cik|regex"}),
    "a date that is none": ({"LatestQuarter": "2026-02-30"}, {"latest_quarter_date|dtype"}),
    "no name": ({"Name": "None"}, {"name|nullability"}),
}


@pytest.mark.parametrize("name", PROFILES)
def test_a_poisoned_profile_is_named(store: FolderStore, name: str) -> None:
    members, rules = PROFILES[name]
    commit(store, OVERVIEW, PART, {"IBM": [(profile(**members), NOW)], "OK": [(profile(Symbol="OK"), NOW)]})
    report = run(store, OVERVIEW)
    assert (report.rows_kept, report.rows_rejected) == (1, 1)
    assert set(quarantine(store, OVERVIEW).get_column("rule")) == rules


@pytest.mark.parametrize(
    "body", [b"[]", b"{}", b"null", b"{", profile(Name={"a": 1}), profile(Beta=[1]), profile(Symbol=None)]
)
def test_a_profile_of_another_shape_is_set_aside_whole(store: FolderStore, body: bytes) -> None:
    commit(store, OVERVIEW, PART, {"IBM": [(body, NOW)]})
    report = run(store, OVERVIEW)
    assert (report.rows_kept, report.payload_failures) == (0, 1)


@pytest.mark.parametrize(
    ("number", "kept"),
    [
        (0.24, Decimal("0.24")),
        (1e17, Decimal(10**17)),
        (1e18, None),
        (1e25, None),
        (-1e30, None),
        (1e300, None),
        (float("inf"), None),
        (float("nan"), None),
    ],
)
def test_a_binary_number_becomes_the_decimal_that_it_is_written_as(number: float, kept: Decimal | None) -> None:
    schema = contract("corporate_actions")
    numbers = {judge.AT: [0], judge.SLICE: [0], judge.PAYLOAD: [0], "cash_amount": [number]}
    frame = pl.DataFrame(numbers).with_columns(
        pl.lit("x").alias(name) for name in own_columns(schema) if name != "cash_amount"
    )
    found, faults = judge.cast(frame, schema)
    assert found.get_column("cash_amount").to_list() == [kept]
    assert ("cash_amount|dtype" in faults[0]) is (kept is None)


def test_missing_spellings_are_null_and_numbers_may_be_numbers(store: FolderStore) -> None:
    body = profile(
        PERatio="None",
        EBITDA="-",
        DividendDate="0000-00-00",
        ExDividendDate="None",
        DividendYield="0",
        Sector="",
        SharesOutstanding="939000000.0",
        MarketCapitalization=2.06e11,
        Country=None,
        LatestQuarter="2026-09-30",
    )
    commit(store, OVERVIEW, PART, {"IBM": [(body, NOW)]})
    assert run(store, OVERVIEW).rows_kept == 1
    row = silver(store, OVERVIEW).row(0, named=True)
    nulls = ("pe_ratio", "ebitda", "dividend_date", "ex_dividend_date", "sector", "country", "peg_ratio")
    assert [row[name] for name in nulls] == [None] * len(nulls)
    assert (row["dividend_yield_ratio"], row["shares_outstanding"]) == (0.0, 939_000_000)
    assert (row["market_capitalization"], row["latest_quarter_date"]) == (2.06e11, dt.date(2026, 9, 30))


def test_captured_profiles_of_three_years_are_kept(store: FolderStore, captured: Path) -> None:
    found = {}
    for path in sorted((captured / "alpha_vantage" / "overview").glob("*.json")):
        found[json.loads(path.read_bytes())["Symbol"]] = [(path.read_bytes(), NOW)]
    commit(store, OVERVIEW, PART, found)
    report = run(store, OVERVIEW)
    assert (report.rows_kept, report.rows_rejected) == (len(found), 0)
    assert len(found) == 3
    rows = {row["symbol"]: row for row in silver(store, OVERVIEW).iter_rows(named=True)}
    for symbol, ((body, _),) in found.items():
        raw = json.loads(body)
        assert rows[symbol]["market_capitalization"] == float(raw["MarketCapitalization"])
        assert rows[symbol]["name"] == raw["Name"]
        assert rows[symbol]["shares_outstanding"] == int(raw["SharesOutstanding"])
    assert rows["TSLA"]["dividend_date"] is None


# Versions


def closes(store: FolderStore, day: str = "2026-11-06") -> list[tuple[float, dt.datetime]]:
    """The versions of one week."""
    rows = silver(store).filter(pl.col("session_date") == dt.date.fromisoformat(day)).sort("known_at")
    return list(zip(rows.get_column("close_usd"), rows.get_column("known_at"), strict=True))


def test_there_and_back_again_is_three_versions(store: FolderStore) -> None:
    times = [NOW + dt.timedelta(minutes=n) for n in range(3)]
    a, b = csv(*GOOD), csv(bar("2026-11-06", 60), GOOD[1])
    commit(store, WEEKLY, PART, {"IBM": list(zip((a, b, a), times, strict=True))})
    report = run(store)
    assert closes(store) == [(50.0, times[0]), (60.0, times[1]), (50.0, times[2])]
    assert closes(store, "2026-10-30") == [(50.0, times[0])]
    assert (report.rows_in, report.rows_kept, report.rows_duplicate) == (6, 4, 2)


def test_an_unchanged_repeat_is_no_version(store: FolderStore) -> None:
    again = csv(*GOOD, end="\n")
    commit(store, WEEKLY, PART, {"IBM": [(csv(*GOOD), NOW), (again, LATER)]})
    report = run(store)
    assert (report.rows_kept, report.rows_duplicate) == (2, 2)
    assert set(silver(store).get_column("known_at")) == {NOW}


def test_a_rejected_row_between_two_equal_ones_makes_no_version(store: FolderStore) -> None:
    times = [NOW + dt.timedelta(minutes=n) for n in range(3)]
    bad = csv(GOOD[0].replace("50.0000", "x", 1), GOOD[1])
    commit(store, WEEKLY, PART, {"IBM": list(zip((csv(*GOOD), bad, csv(*GOOD)), times, strict=True))})
    assert run(store).rows_rejected == 1
    assert closes(store) == [(50.0, times[0])]


def test_a_rejected_row_of_a_payload_that_came_back_is_in_quarantine_once(store: FolderStore) -> None:
    times = [NOW + dt.timedelta(minutes=n) for n in range(3)]
    a, b = csv(GOOD[0], "x"), csv(bar("2026-11-06", 60), "x")
    commit(store, WEEKLY, PART, {"IBM": list(zip((a, b, a), times, strict=True))})
    report = run(store)
    rows = quarantine(store)
    assert (report.rows_in, report.rows_kept, report.rows_duplicate, report.rows_rejected) == (6, 3, 1, 2)
    assert rows.select("bronze_key", "rule", "row_json").is_unique().all()
    assert rows.get_column("known_at").to_list() == times[:2]


def test_each_value_alone_makes_a_version(store: FolderStore) -> None:
    base = "2026-11-06,50.0,51.0,49.0,50.0,50.0,1000,0.0"
    lines = [base]
    for column, value in ((1, "50.1"), (2, "51.1"), (3, "48.9"), (4, "50.1"), (5, "49.9"), (6, "1001"), (7, "0.1")):
        fields = base.split(",")
        fields[column] = value
        lines.append(",".join(fields))
    lines.append(base.replace("2026-11-06", "2026-11-05"))
    versions = [(csv(line), NOW + dt.timedelta(minutes=n)) for n, line in enumerate(lines)]
    commit(store, WEEKLY, PART, {"IBM": versions})
    assert run(store).rows_kept == len(lines)
    assert silver(store).select("week_start_date", "known_at").n_unique() == len(lines)


def test_slices_stand_alone(store: FolderStore) -> None:
    before = Slice.at(NOW.date() - dt.timedelta(weeks=1), grain=Grain.WEEK)
    commit(store, WEEKLY, before, {"IBM": [(csv(*GOOD), NOW - dt.timedelta(weeks=1))]})
    commit(store, WEEKLY, PART, {"IBM": [(csv(*GOOD), NOW)]})
    run(store, part=before)
    first = store.get(layout.silver_part(WEEKLY.contract, PROVIDER.name, WEEKLY.dataset, before.key))
    assert run(store).rows_kept == 2
    assert store.get(layout.silver_part(WEEKLY.contract, PROVIDER.name, WEEKLY.dataset, before.key)) == first


# Bytes


def test_unchanged_input_writes_nothing(store: FolderStore) -> None:
    commit(store, WEEKLY, PART, {"IBM": [(csv(GOOD[0], "x"), NOW)], "AAPL": [(weeks(50), NOW)]})
    first = run(store)
    before = tree(store.root)
    again = run(store)
    assert (first.is_written, again.is_written) == (True, False)
    assert tree(store.root) == before
    assert again.sha256 == first.sha256 == hashlib.sha256(store.get(first.silver_key)).hexdigest()


def test_quarantine_goes_when_its_rows_are_mended(store: FolderStore) -> None:
    commit(store, WEEKLY, PART, {"IBM": [(csv(GOOD[0], "x"), NOW)]})
    run(store)
    commit(store, WEEKLY, PART, {"IBM": [(csv(*GOOD), NOW)]})
    assert run(store).is_written
    assert not store.exists(layout.quarantine_part(WEEKLY.contract, PROVIDER.name, WEEKLY.dataset, PART.key))


REPLAY = """
import sys; from pathlib import Path
from market_pipeline.normalize import normalize
from market_pipeline.partition import Grain, Slice
from market_pipeline.providers.alpha_vantage import PROVIDER
from market_pipeline.store import FolderStore
for feed in PROVIDER.feeds[:2]:
    part = Slice.from_key(sys.argv[2], grain=Grain.WEEK)
    print(normalize(PROVIDER, feed, part, store=FolderStore(Path(sys.argv[1]))).sha256)
"""


def test_another_process_gives_the_same_bytes(store: FolderStore) -> None:
    symbols = [f"S{n}" for n in range(12)]
    poison = [line for line, _ in POISON.values()]
    commit(
        store,
        WEEKLY,
        PART,
        {s: [(weeks(300 + n), NOW), (csv(*poison, bar("2026-11-06", 60 + n)), LATER)] for n, s in enumerate(symbols)},
    )
    commit(store, OVERVIEW, PART, {s: [(profile(Symbol=s), NOW)] for s in symbols})
    ours = [run(store, feed).sha256 for feed in (WEEKLY, OVERVIEW)]
    derived = {k: v[1] for k, v in tree(store.root).items() if not k.startswith("bronze/")}
    for key in derived:
        store.delete(key)
    command = [sys.executable, "-c", REPLAY, str(store.root), PART.key]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert out.split() == ours
    replayed = {k: v[1] for k, v in tree(store.root).items() if not k.startswith("bronze/")}
    assert replayed == {k: v for k, v in derived.items() if k != layout.quarantine_empty()}


@pytest.mark.parametrize("where", [0, 0.5, -1])
def test_a_flipped_byte_in_bronze_is_found_and_named(store: FolderStore, where: float) -> None:
    commit(store, WEEKLY, PART, {"IBM": [(weeks(50), NOW)]})
    run(store)
    before = silver(store)
    (key,) = (k for k in store.list("bronze/") if layout.manifest_seq(k) is None)
    path = Path(store.url(key))
    body = bytearray(path.read_bytes())
    body[int(where * len(body)) if where >= 0 else -1] ^= 1
    path.write_bytes(bytes(body))
    with pytest.raises(HashMismatch, match=re.escape(key)):
        normalize(PROVIDER, WEEKLY, PART, store=store)
    assert silver(store).equals(before)
    path.unlink()
    with pytest.raises(ObjectMissing, match=re.escape(key)):
        normalize(PROVIDER, WEEKLY, PART, store=store)


def test_a_slice_that_was_never_fetched_is_an_error_with_the_remedy(store: FolderStore) -> None:
    with pytest.raises(ObjectMissing, match=r"2026-11-16 .*market-pipeline run alpha_vantage/weekly_adjusted"):
        normalize(PROVIDER, WEEKLY, PART, store=store)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"requests": [1]}', b'{"requests": 5}', b'{"requests": [{}]}', b"\xff"]
)
def test_a_broken_manifest_is_named(store: FolderStore, body: bytes) -> None:
    commit(store, WEEKLY, PART, {"IBM": [(csv(*GOOD), NOW)]})
    key = layout.manifest(layout.bronze_slice(PROVIDER.name, WEEKLY.dataset, PART.key), 1)
    Path(store.url(key)).write_bytes(body)
    with pytest.raises(LakeError, match=r"manifest-000001\.json is no manifest"):
        normalize(PROVIDER, WEEKLY, PART, store=store)


def test_empty_files_have_the_columns_of_full_ones(store: FolderStore) -> None:
    for feed in PROVIDER.feeds[:2]:
        empty = pl.read_parquet(io.BytesIO(empty_silver(feed.contract)))
        assert empty.schema == contract(feed.contract).create_empty().schema
        assert "known_at" not in business_key(contract(feed.contract))
    commit(store, WEEKLY, PART, {"IBM": [(csv("x"), NOW)]})
    run(store)
    assert quarantine(store).schema == pl.read_parquet(io.BytesIO(empty_quarantine())).schema


def test_the_real_history_of_ibm_arrives_whole(store: FolderStore, captured: Path, tmp_path: Path) -> None:
    """Through ingest and normalize, against sums that the csv module gives."""
    body = (captured / "alpha_vantage/time_series_weekly_adjusted/IBM-full-1999-2026.csv").read_bytes()
    with client(tmp_path, answer=Api({"IBM": body})) as made:
        taken = ingest(PROVIDER, WEEKLY, PART, [instrument("IBM")], store=store, client=made, now=lambda: NOW)
    assert (taken.fetched, taken.is_complete, taken.objects_new, taken.bytes_new) == (1, True, 1, len(body))
    committed = manifest.read(store, PROVIDER.name, WEEKLY.dataset, PART.key)
    assert committed is not None
    assert committed.entries[0].outcome is Outcome.FETCHED
    report = run(store)
    assert (report.rows_in, report.rows_kept, report.rows_duplicate, report.rows_rejected) == (1384, 1384, 0, 0)
    rows = list(csv_module.DictReader(io.StringIO(body.decode(), newline="")))
    found = silver(store)
    names = {
        "open": "open_usd",
        "high": "high_usd",
        "low": "low_usd",
        "close": "close_usd",
        "adjusted close": "adjusted_close_usd",
        "volume": "volume_shares",
        "dividend amount": "dividend_usd",
    }
    for theirs, ours in names.items():
        expected = math.fsum(float(row[theirs]) for row in rows)
        assert math.fsum(found.get_column(ours)) == pytest.approx(expected, rel=1e-12)
    days = [dt.date.fromisoformat(row["timestamp"]) for row in rows]
    assert sorted(found.get_column("session_date")) == sorted(days)
    assert found.filter(pl.col("session_date").dt.weekday() != 5).height == 46 == sum(d.weekday() != 4 for d in days)
    assert sorted(found.get_column("week_start_date")) == sorted(d - dt.timedelta(days=d.weekday()) for d in days)
    assert report.newest_date == max(days) == dt.date(2026, 5, 15)
