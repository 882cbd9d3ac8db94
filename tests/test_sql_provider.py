"""Watch-lists and positions from real databases: PostgreSQL and SQLite, through connectorx, ingest and normalize.

Over 300 lines because all of it runs against the same tables in both databases.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import json
import os
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import httpx2
import polars as pl
import pyarrow.parquet as pq
import pytest

from market_pipeline import contracts, databases, layout, manifest, providers, reference, seeding
from market_pipeline.commit import Name
from market_pipeline.errors import ConfigurationError, KeyMissing, PayloadChanged
from market_pipeline.feed import Outcome, Request
from market_pipeline.normalize import NormalizeReport
from market_pipeline.pipeline import Pipeline
from market_pipeline.providers import sql
from market_pipeline.settings import REPOSITORY, load_settings, passwords
from market_pipeline.slice_run import IngestReport
from postgres import Postgres, serving
from silver_files import put_slice
from wire import tree

DAY = "2026-11-18"
CLOCK = "2026-11-18T15:00:00Z"
# With what an address must encode, so that it has two spellings.
PASSWORD = "CANARY/pass word:0123456"
WRITTEN = "CANARY%2Fpass%20word%3A0123456"
WATCHLIST = "select list_name, symbol, note, added_date from watchlist"
POSITIONS = "select account, symbol, quantity, average_cost, currency, as_of_date from positions"


@pytest.fixture(scope="session")
def server() -> Iterator[Postgres]:
    with serving(PASSWORD) as found:
        yield found


@dataclass(frozen=True)
class Database:
    """One of the databases that the tests run against, with the tables of the queries above."""

    kind: str
    url: str
    run: Callable[[str], str]


_TABLES = {
    "postgresql": """
        drop schema public cascade;
        create schema public;
        create table watchlist (list_name text, symbol char(8), note text, added_date timestamp);
        create table positions (
            account varchar(20), symbol text, quantity numeric, average_cost numeric(12, 4), currency char(3),
            as_of_date date
        );
    """,
    "sqlite": """
        create table watchlist (list_name text, symbol char(8), note, added_date date);
        create table positions (
            account varchar(20), symbol text, quantity numeric(20, 4), average_cost numeric, currency char(3),
            as_of_date
        );
    """,
}


def _sqlite(path: Path, statements: str) -> str:
    with closing(sqlite3.connect(path)) as connection:
        if statements.lstrip().startswith("select"):
            return str(connection.execute(statements).fetchone()[0])
        connection.executescript(statements)
        return ""


@pytest.fixture(params=["postgresql", "sqlite"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    if request.param == "sqlite":
        path = tmp_path / "my 100% data?.db"
        encoded = str(path).replace("%", "%25").replace(" ", "%20").replace("?", "%3F")
        found = Database("sqlite", f"sqlite://{encoded}", lambda statements: _sqlite(path, statements))
    else:
        owner: Postgres = request.getfixturevalue("server")
        url = owner.url.replace(PASSWORD, WRITTEN)
        found = Database("postgresql", url, owner.run)
    found.run(_TABLES[request.param])
    found.run(
        """
        insert into watchlist values ('tech', 'AAPL', 'Äpfel 漢字 🍎', '2026-01-02'), ('tech', 'MSFT', null, null),
                                     ('income', 'KO', '', '2026-02-03');
        insert into positions values
            ('broker', 'AAPL', 3, null, 'USD', null),
            ('broker', 'MSFT', 10.5, 401.25, 'USD', '2026-11-17'),
            ('pension', 'AAPL', -0.0001, 1234567.1, 'EUR', '2026-11-16');
        """
    )
    return found


def _pipeline(folder: Path, url: str, **variables: str) -> Pipeline:
    environ = {
        "MARKET_PIPELINE_PROFILE": "recorded",
        "MARKET_PIPELINE_HOME": str(folder),
        "MARKET_PIPELINE_CLOCK": CLOCK,
        "SQL_URL": url,
        "SQL_WATCHLIST_QUERY": WATCHLIST,
        "SQL_POSITIONS_QUERY": POSITIONS,
        **variables,
    }
    return Pipeline(load_settings(environ))


def _take(pipeline: Pipeline, dataset: str, **how: Any) -> IngestReport:
    (report,) = pipeline.ingest("sql", dataset, [DAY], **how)
    return report


def _normalize(pipeline: Pipeline, dataset: str) -> tuple[NormalizeReport, pl.DataFrame]:
    (report,) = pipeline.normalize("sql", dataset, [DAY])
    return report, pl.read_parquet(pipeline.settings.lake / report.silver_key)


def _entry(pipeline: Pipeline, dataset: str) -> manifest.Entry:
    committed = manifest.read(pipeline.store, "sql", dataset, DAY)
    assert committed is not None
    (entry,) = committed.entries
    return entry


def _payload(pipeline: Pipeline, dataset: str) -> Path:
    prefix = layout.bronze_slice("sql", dataset, DAY)
    return pipeline.settings.lake / layout.bronze_payload(prefix, _entry(pipeline, dataset).payloads[-1].object)


class TestEndToEnd:
    def test_rows_arrive_as_they_are_meant(self, database: Database, tmp_path: Path) -> None:
        pipeline = _pipeline(tmp_path / "home", database.url)
        for dataset in ("watchlist", "positions"):
            assert _take(pipeline, dataset).is_complete
        _, lists = _normalize(pipeline, "watchlist")
        _, held = _normalize(pipeline, "positions")
        assert lists.select("list_name", "symbol", "note", "added_date").rows() == [
            ("income", "KO", "", dt.date(2026, 2, 3)),
            ("tech", "AAPL", "Äpfel 漢字 🍎", dt.date(2026, 1, 2)),
            ("tech", "MSFT", None, None),
        ]
        assert held.select("account", "symbol", "quantity", "average_cost", "currency", "as_of_date").rows() == [
            ("broker", "AAPL", Decimal(3), None, "USD", None),
            ("broker", "MSFT", Decimal("10.5"), Decimal("401.25"), "USD", dt.date(2026, 11, 17)),
            ("pension", "AAPL", Decimal("-0.0001"), Decimal("1234567.1"), "EUR", dt.date(2026, 11, 16)),
        ]
        assert held.schema["quantity"] == pl.Decimal(28, 10)
        assert held.get_column("instrument_id").null_count() == held.height
        assert held.get_column("provider").unique().to_list() == ["sql"]

    def test_bronze_names_the_query(self, database: Database, tmp_path: Path) -> None:
        pipeline = _pipeline(tmp_path / "home", database.url, SQL_WATCHLIST_QUERY=f"\n {WATCHLIST} -- mine\n ; ")
        _take(pipeline, "watchlist")
        asked = f"{WATCHLIST} -- mine"
        digest = hashlib.sha256(asked.encode()).hexdigest()
        metadata = pq.read_schema(_payload(pipeline, "watchlist")).metadata
        assert metadata[b"query_sha256"] == digest.encode()
        assert metadata[b"query"] == asked.encode()
        assert _entry(pipeline, "watchlist").request.params == (("query_sha256", digest),)

    def test_a_rerun_writes_nothing(self, database: Database, tmp_path: Path) -> None:
        pipeline = _pipeline(tmp_path / "home", database.url)
        _take(pipeline, "positions")
        _normalize(pipeline, "positions")
        before = tree(pipeline.settings.lake)
        assert _take(pipeline, "positions").calls_used == 0
        assert tree(pipeline.settings.lake) == before
        # The same rows, but stored in another order, and read again.
        database.run("create table copy as select * from positions; delete from positions;")
        database.run("insert into positions select * from copy order by quantity")
        report = _take(pipeline, "positions", refetch=True)
        assert (report.calls_used, report.objects_new) == (1, 0)
        _normalize(pipeline, "positions")
        assert tree(pipeline.settings.lake) == before

    def test_a_change_is_a_version_and_a_row_that_went_is_seen(self, database: Database, tmp_path: Path) -> None:
        pipeline = _pipeline(tmp_path / "home", database.url)
        _take(pipeline, "positions")
        database.run(
            "update positions set quantity = 11 where symbol = 'MSFT'; delete from positions where quantity < 0"
        )
        _take(pipeline, "positions", refetch=True)
        _, held = _normalize(pipeline, "positions")
        versions = held.filter(pl.col("symbol") == "MSFT").sort("known_at").get_column("quantity").to_list()
        assert versions == [Decimal("10.5"), Decimal(11)]
        newest = held.filter(pl.col("bronze_sha256") == _entry(pipeline, "positions").payloads[-1].sha256)
        assert newest.select("account", "symbol").rows() == [("broker", "AAPL"), ("broker", "MSFT")]

    def test_an_empty_table_is_an_answer(self, database: Database, tmp_path: Path) -> None:
        database.run("delete from watchlist")
        pipeline = _pipeline(tmp_path / "home", database.url)
        assert _take(pipeline, "watchlist").fetched == 1
        report, lists = _normalize(pipeline, "watchlist")
        assert (report.rows_in, report.payload_failures, lists.height) == (0, 0, 0)

    def test_another_query_is_another_question(self, database: Database, tmp_path: Path) -> None:
        _take(_pipeline(tmp_path / "home", database.url), "watchlist")
        narrowed = _pipeline(
            tmp_path / "home", database.url, SQL_WATCHLIST_QUERY=f"{WATCHLIST} where list_name = 'income'"
        )
        assert _take(narrowed, "watchlist").calls_used == 1
        assert pl.read_parquet(_payload(narrowed, "watchlist")).height == 1
        assert _take(narrowed, "watchlist").calls_used == 0

    def test_a_hundred_thousand_rows_take_little_memory(self, database: Database, tmp_path: Path) -> None:
        series = {
            "postgresql": "from generate_series(1, 100000) as series (n)",
            "sqlite": "from (with recursive series (n) as (select 1 union all select n + 1 from series "
            "where n < 100000) select n from series)",
        }[database.kind]
        text = "cast(n as char(6))" if database.kind == "postgresql" else "cast(n as text)"
        query = f"select 'broker' as account, {text} as symbol, n * 0.25 as quantity, 'USD' as currency {series}"
        code = f"""
import resource
from market_pipeline.pipeline import Pipeline
from market_pipeline.settings import load_settings
pipeline = Pipeline(load_settings())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
pipeline.ingest("sql", "positions", ["{DAY}"])
(report,) = pipeline.normalize("sql", "positions", ["{DAY}"])
own, child = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
print(report.rows_kept, own - before, child)
"""
        environ = {"MARKET_PIPELINE_PROFILE": "recorded", "MARKET_PIPELINE_HOME": str(tmp_path / "home")}
        environ |= {"MARKET_PIPELINE_CLOCK": CLOCK, "SQL_URL": database.url, "SQL_POSITIONS_QUERY": query}
        done = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, **environ}, capture_output=True, text=True, check=True
        )
        kept, grown_kib, child_kib = map(int, done.stdout.split())
        assert kept == 100_000
        assert grown_kib < 300 * 1024
        assert child_kib < 300 * 1024
        (file,) = (tmp_path / "home" / "recorded" / "lake").glob("bronze/sql/positions/*/*.parquet")
        total = pl.read_parquet(file).select(pl.col("quantity").cast(pl.Float64).sum()).item()
        assert total == 0.25 * 100_000 * 100_001 / 2


class TestHarm:
    @pytest.mark.parametrize(
        "query",
        [
            "delete from positions",
            "delete from positions returning account, symbol, quantity, currency",
            "update positions set quantity = 0",
            "drop table positions",
            "select 1 as account; delete from positions",
            "select 1 as account) as q; delete from positions; --",
            "with gone as (delete from positions returning *) select * from gone",
            "insert into positions (account) values ('x') returning *",
            "create table other (a text)",
            "attach database 'other.db' as other",
            "copy positions to program 'true'",
        ],
    )
    def test_no_query_writes(self, database: Database, tmp_path: Path, query: str) -> None:
        pipeline = _pipeline(tmp_path / "home", database.url, SQL_POSITIONS_QUERY=query)
        report = _take(pipeline, "positions")
        assert report.failed == 1
        assert report.problems[0].reason in ("query_failed", "write_refused")
        assert database.run("select count(*) from positions") == "3"

    def test_not_by_a_function_either(self, server: Postgres, tmp_path: Path) -> None:
        server.run(_TABLES["postgresql"])
        server.run("""
            create sequence counter;
            create function writes() returns text language sql as
                $$insert into watchlist values ('x') returning 'done'$$;
        """)
        for call in ("writes()", "nextval('counter')", "set_config('transaction_read_only', 'off', false) || writes()"):
            pipeline = _pipeline(
                tmp_path / "home", server.url.replace(PASSWORD, WRITTEN), SQL_WATCHLIST_QUERY=f"select {call} as symbol"
            )
            assert _take(pipeline, "watchlist").problems[0].reason in ("write_refused", "query_failed"), call
        assert server.run("select count(*) from watchlist") == "0"
        assert server.run("select is_called from counter") == "f"

    @pytest.mark.parametrize(
        ("value", "reason"),
        [
            ("'NaN'::numeric", "unreadable_value"),
            ("interval '1 day'", "unreadable_value"),
            ("1::money", "unreadable_value"),
            ("array[1, 2]", "unreadable_value"),
            ("12345678901234567890.1234567890", "unreadable_value"),
            ("1 / 0", "query_failed"),
            ("'CANARY'::integer", "query_failed"),
        ],
    )
    def test_a_value_that_cannot_be_read_is_a_reason(
        self, server: Postgres, tmp_path: Path, value: str, reason: str
    ) -> None:
        query = f"select 'a' as account, 'A' as symbol, {value} as quantity, 'USD' as currency"
        pipeline = _pipeline(tmp_path / "home", server.url.replace(PASSWORD, WRITTEN), SQL_POSITIONS_QUERY=query)
        assert _take(pipeline, "positions").problems[0].reason == reason
        # As text it is read, and the contract judges it.
        if reason == "unreadable_value" and "array" not in value:
            pipeline = _pipeline(
                tmp_path / "home",
                server.url.replace(PASSWORD, WRITTEN),
                SQL_POSITIONS_QUERY=query.replace(value, f"cast({value} as text)"),
            )
            assert _take(pipeline, "positions").is_complete
            report, _ = _normalize(pipeline, "positions")
            assert report.rows_in == 1
            assert report.payload_failures == 0

    def test_rows_that_break_a_rule_go_to_quarantine(self, database: Database, tmp_path: Path) -> None:
        database.run(
            """
            insert into positions values
                ('broker', '', 1, 1, 'USD', null), ('broker', 'LOWER', 1, 1, 'usd', null),
                ('broker', 'ZERO\u200bWIDTH', 1, 1, 'USD', null),
                ('broker', 'NEGATIVE', 1, -1, 'USD', null), (null, 'NOBODY', 1, 1, 'USD', null),
                ('broker', 'TWICE', 1, 1, 'USD', null), ('broker', 'TWICE', 2, 1, 'USD', null),
                ('broker', 'SAME', 1, 1, 'USD', null), ('broker', 'SAME', 1, 1, 'USD', null);
            """
        )
        pipeline = _pipeline(tmp_path / "home", database.url)
        _take(pipeline, "positions")
        report, held = _normalize(pipeline, "positions")
        assert dict(report.rejected_by_rule) == {
            "account|nullability": 1,
            "average_cost|min": 1,
            "conflicting_duplicate": 2,
            "currency|regex": 1,
            "symbol|regex": 2,
        }
        assert (report.rows_in, report.rows_kept, report.rows_duplicate) == (12, 4, 1)
        assert "SAME" in held.get_column("symbol").to_list()

    def test_sqlite_values_of_any_type_are_judged_one_by_one(self, tmp_path: Path) -> None:
        path = tmp_path / "positions.db"
        _sqlite(path, _TABLES["sqlite"])
        with closing(sqlite3.connect(path)) as connection:
            for number, value in enumerate([None, 3, "many", 2.5, 1e20, float("inf"), b"\x01"]):
                connection.execute("insert into positions values ('b', ?, ?, null, 'USD', null)", (f"S{number}", value))
            connection.commit()
        pipeline = _pipeline(tmp_path / "home", f"sqlite://{path}")
        _take(pipeline, "positions")
        report, held = _normalize(pipeline, "positions")
        assert dict(held.select("symbol", "quantity").iter_rows()) == {"S1": Decimal(3), "S3": Decimal("2.5")}
        assert report.rows_in == 7
        assert dict(report.rejected_by_rule) == {"quantity|dtype": 4, "quantity|nullability": 1}

    def test_a_query_without_a_column_is_a_changed_payload(self, database: Database, tmp_path: Path) -> None:
        pipeline = _pipeline(
            tmp_path / "home", database.url, SQL_POSITIONS_QUERY="select account, symbol from positions"
        )
        _take(pipeline, "positions")
        report, _ = _normalize(pipeline, "positions")
        assert (report.payload_failures, report.rejected_by_rule) == (1, (("payload_unreadable", 1),))


class TestLimits:
    def test_a_query_that_takes_too_long_is_ended(
        self, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(databases, "QUERY_SECONDS", 1)
        monkeypatch.setattr(databases, "GRACE_SECONDS", 1)
        endless = "with recursive n (i) as (select 1 union all select i + 1 from n) select max(i) as symbol from n"
        if database.kind == "postgresql":
            endless = "select count(*) as symbol from generate_series(1, 2000000000)"
        pipeline = _pipeline(tmp_path / "home", database.url, SQL_WATCHLIST_QUERY=endless)
        assert _take(pipeline, "watchlist").problems[0].reason == "timed_out"

    def test_too_many_rows_are_refused(
        self, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(databases, "ROWS_MAX_BYTES", 100_000)
        many = "select a.note, b.note as other from watchlist a, watchlist b, watchlist c, watchlist d, watchlist e"
        for number in range(6):
            many += f", watchlist f{number}"
        pipeline = _pipeline(tmp_path / "home", database.url, SQL_WATCHLIST_QUERY=many)
        assert _take(pipeline, "watchlist").problems[0].reason == "too_large"

    def test_one_value_that_is_too_large_ends_the_child_only(
        self, server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(databases, "MEMORY_MAX_BYTES", 1_000_000_000)
        url = server.url.replace(PASSWORD, WRITTEN)
        pipeline = _pipeline(tmp_path / "home", url, SQL_WATCHLIST_QUERY="select repeat('x', 400000000) as symbol")
        assert _take(pipeline, "watchlist").problems[0].reason == "too_large"
        assert resource.getrlimit(resource.RLIMIT_DATA)[0] != 1_000_000_000

    def test_a_file_that_does_not_fit_the_wire_is_refused(self, database: Database, tmp_path: Path) -> None:
        noise = {
            "postgresql": "select md5(n::text) || md5((n + 1)::text) as note from generate_series(1, 1000000) as s (n)",
            "sqlite": "with recursive s (n) as (select 1 union all select n + 1 from s where n < 1000000) "
            "select hex(randomblob(32)) as note from s",
        }[database.kind]
        pipeline = _pipeline(tmp_path / "home", database.url, SQL_WATCHLIST_QUERY=noise)
        assert _take(pipeline, "watchlist").problems[0].reason == "body:too_large"


class TestSecret:
    @pytest.mark.usefixtures("single_try")
    def test_no_byte_and_no_word_holds_the_password(
        self, server: Postgres, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """Through an answer, a wrong query, a wrong login, no database, and a server that is not there."""
        server.run(_TABLES["postgresql"])
        url = server.url.replace(PASSWORD, WRITTEN)
        cases = {
            url: (f"{WATCHLIST} where note is null or note <> '{PASSWORD} {WRITTEN} {url}'", "fetched"),
            f"{url}?application_name=two": (f"select '{PASSWORD}'::integer as symbol", "query_failed"),
            url.replace("owner:", "stranger:"): (WATCHLIST, "login_refused"),
            url.replace("/postgres", "/nowhere"): (WATCHLIST, "unreachable:ConnectError"),
            url.replace(f":{server.port}", ":9"): (WATCHLIST, "unreachable:ConnectError"),
            f"{url}?sslmode=require": (WATCHLIST, "unreachable:ConnectError"),
            f"{url}?{WRITTEN}=1": (WATCHLIST, "query_failed"),
        }
        told = []
        for number, (address, (query, reason)) in enumerate(cases.items()):
            pipeline = _pipeline(tmp_path / str(number), address, SQL_WATCHLIST_QUERY=query)
            report = _take(pipeline, "watchlist")
            assert (report.problems[0].reason if report.problems else "fetched") == reason, number
            told.append(repr(report))
            assert PASSWORD in pipeline.settings.secrets(pipeline.providers)
            assert WRITTEN in pipeline.settings.secrets(pipeline.providers)
        query_kept = pq.read_schema(_payload(_pipeline(tmp_path / "0", url), "watchlist")).metadata[b"query"]
        assert query_kept.endswith(b"<> '[REDACTED] [REDACTED] [REDACTED]'")
        out, err = capfd.readouterr()
        files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
        assert len(files) > 20
        for spelling in (PASSWORD, WRITTEN):
            assert not [file for file in files if spelling.encode() in file]
            assert spelling not in out + err + "".join(told)
        assert "r2d2" not in out + err
        assert "panicked" not in out + err

    def test_a_wrong_login_is_tried_once(self, server: Postgres, tmp_path: Path) -> None:
        """connectorx's own pool would try seven times in half a minute: enough to lock an account."""
        pipeline = _pipeline(tmp_path / "home", server.url.replace(PASSWORD, "wrong-password"))
        started = dt.datetime.now(dt.UTC)
        report = _take(pipeline, "watchlist")
        assert dt.datetime.now(dt.UTC) - started < dt.timedelta(seconds=10)
        assert report.is_key_refused
        assert (report.refused, report.calls_used) == (1, 1)
        # A second try may have begun when the child ended.
        assert 1 <= server.log().count('authentication failed for user "owner"') <= 2

    @pytest.mark.usefixtures("single_try")
    def test_what_is_not_there_is_not_made(self, tmp_path: Path) -> None:
        pipeline = _pipeline(tmp_path / "home", f"sqlite://{tmp_path}/none.db")
        assert _take(pipeline, "watchlist").problems[0].reason == "unreachable:ConnectError"
        assert not [path for path in tmp_path.iterdir() if path.name.startswith("none")]

    def test_children_do_not_see_the_address(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SQL_URL", f"postgresql://owner:{PASSWORD}@127.0.0.1/postgres")
        settings = _pipeline(tmp_path, "sqlite:///nowhere.db").settings
        assert "SQL_URL" not in settings.child_environment(providers=providers.load())

    def test_passwords_are_found_in_any_spelling(self) -> None:
        assert set(passwords(f"postgresql://u:{WRITTEN}@h/d?sslmode=require")) == {WRITTEN, PASSWORD}
        assert passwords("postgresql://u:for/got#ten@to@h:1/d") == ("for/got#ten@to",)
        assert passwords("postgresql://h/d?user=u&password=secret%21") == ("secret!", "secret%21")
        assert passwords("postgresql://u:abc@h/d") == ()
        assert passwords("sqlite:///a/b@c.db") == ()


class TestSettings:
    @pytest.mark.parametrize(
        "url",
        [
            "postgresql+psycopg2://u:CANARY@127.0.0.1/d",
            "postgresql://u:CANARY/x@127.0.0.1/d",
            "postgresql://u:CANARY@127.0.0.1:port/d",
            "postgresql://u:CANARY@[::1/d",
            "postgresql://u:CANARY@127.0.0.1",
            "postgresql://u:CANARY@database.example/d",
            "mssql://u:CANARY@127.0.0.1/d",
            "sqlite://relative/CANARY.db",
            "sqlite:///",
            "CANARY",
        ],
    )
    def test_an_address_that_is_none_is_told_without_it(self, tmp_path: Path, url: str) -> None:
        pipeline = _pipeline(tmp_path, url)
        with pytest.raises(ConfigurationError, match=r"^SQL_URL ") as told:
            _take(pipeline, "watchlist")
        assert "CANARY" not in str(told.value)
        assert not (tmp_path / "recorded" / "lake").exists()

    def test_feeds_are_active_with_an_address_and_their_query(self, tmp_path: Path) -> None:
        def active(**variables: str) -> list[str]:
            settings = load_settings({"MARKET_PIPELINE_HOME": str(tmp_path), **variables})
            return [feed.dataset for provider, feed in Pipeline(settings).active_feeds() if provider.name == "sql"]

        url, query = {"SQL_URL": "sqlite:///a.db"}, {"SQL_POSITIONS_QUERY": "select 1"}
        assert active() == active(**url) == active(**query) == []
        assert active(**url, **query) == ["positions"]
        assert active(**url, **query, MARKET_PIPELINE_PROFILE="demo") == []
        assert active(MARKET_PIPELINE_PROFILE="demo-test") == []

    def test_what_is_missing_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(KeyMissing, match=r"^SQL_URL is not set"):
            _take(_pipeline(tmp_path, ""), "watchlist")
        with pytest.raises(ConfigurationError, match=r"^SQL_WATCHLIST_QUERY is not set"):
            _take(_pipeline(tmp_path, "sqlite:///a.db", SQL_WATCHLIST_QUERY=""), "watchlist")

    def test_a_query_may_lie_in_a_file(self, database: Database, tmp_path: Path) -> None:
        file = tmp_path / "watchlist.sql"
        file.write_text(f"-- mine\n{WATCHLIST}\nwhere symbol = 'KO';\n", encoding="utf-8-sig")
        pipeline = _pipeline(tmp_path / "home", database.url, SQL_WATCHLIST_QUERY=f"@{file}")
        assert _take(pipeline, "watchlist").is_complete
        assert pl.read_parquet(_payload(pipeline, "watchlist")).height == 1
        for bad in (b"\xff\xfe", b" ;\n", None):
            file.unlink(missing_ok=True)
            if bad is not None:
                file.write_bytes(bad)
            with pytest.raises(ConfigurationError, match=r"^SQL_WATCHLIST_QUERY "):
                _take(_pipeline(tmp_path / "home", database.url, SQL_WATCHLIST_QUERY=f"@{file}"), "watchlist")

    def test_a_query_that_changes_under_way_is_not_asked(self, tmp_path: Path) -> None:
        queries = iter(["select 1 as symbol", "select 2 as symbol"])
        feed = sql.PROVIDER.feed("watchlist")
        assert feed is not None
        pipeline = _pipeline(tmp_path, f"sqlite://{tmp_path}/a.db")
        asked = databases.asking(feed, next(queries))
        transport = databases.Transport(
            f"sqlite://{tmp_path}/a.db", setting="SQL_URL", query=lambda _dataset: next(queries), environment={}
        )
        (request,) = asked.plan(pipeline.slice(feed, DAY), ())
        url = httpx2.URL("https://sql.invalid/watchlist", params=dict(request.params))
        answer = transport.handle_request(httpx2.Request("GET", url))
        assert (answer.status_code, answer.read()) == (422, b"query_changed")

    def test_the_example_names_every_variable(self) -> None:
        example = (REPOSITORY / ".env.example").read_text(encoding="utf-8").splitlines()
        names = [sql.PROVIDER.auth.setting, *(feed.query_setting for feed in sql.PROVIDER.feeds)]
        assert all(f"{name}=" in example for name in names)


class TestParser:
    REQUEST = Request("watchlist", "/watchlist", (), "parquet")

    @staticmethod
    def body(**columns: list[Any]) -> bytes:
        buffer = io.BytesIO()
        pl.DataFrame(columns).write_parquet(buffer)
        return buffer.getvalue()

    def test_names_in_any_case_and_order(self) -> None:
        body = self.body(SYMBOL=[" A "], Extra=[1], list_NAME=["x"])
        rows = sql.parse_watchlist(body, self.REQUEST)
        assert rows.drop("snapshot_sha256").to_dicts() == [{"list_name": "x", "symbol": "A"}]

    def test_two_columns_of_one_name(self) -> None:
        with pytest.raises(PayloadChanged, match="name of its own"):
            sql.parse_watchlist(self.body(symbol=["A"], SYMBOL=["A"], list_name=["x"]), self.REQUEST)

    def test_a_missing_column_is_named(self) -> None:
        with pytest.raises(PayloadChanged, match="no column list_name") as told:
            sql.parse_watchlist(self.body(symbol=["A"]), self.REQUEST)
        assert told.value.path == "$.list_name"

    def test_what_is_no_file_is_no_data(self) -> None:
        whole = self.body(symbol=["A"], list_name=["x"])
        assert sql.classify(self.REQUEST, 200, "", whole).outcome is Outcome.FETCHED
        for cut in range(len(whole)):
            assert sql.classify(self.REQUEST, 200, "", whole[:cut]).outcome is Outcome.FAILED

    def test_the_snapshot_is_of_all_rows(self) -> None:
        one, other = (
            sql.parse_watchlist(self.body(symbol=["A", "B"], list_name=["x", "x"], note=["n", note]), self.REQUEST)
            for note in ("m", None)
        )
        assert one.get_column("snapshot_sha256").n_unique() == 1
        assert one.get_column("snapshot_sha256")[0] != other.get_column("snapshot_sha256")[0]


@pytest.mark.slow
def test_gold_values_what_the_newest_fetch_has(tmp_path: Path) -> None:
    """From a table through the lake to the marts, with bars of one instrument that lie in silver."""
    path = tmp_path / "mine.db"
    _sqlite(path, _TABLES["sqlite"])
    _sqlite(
        path,
        """
        insert into watchlist values ('tech', 'AAPL', 'mine', null), ('tech', 'WHO', null, null),
                                     ('x', 'KO', null, null);
        insert into positions values ('broker', 'AAPL', 10.5, 8, 'USD', null), ('broker', 'WHO', 1, 2, 'USD', null),
                                     ('broker', 'KO', 5, 1, 'USD', null);
        """,
    )
    pipeline = _pipeline(tmp_path / "home", f"sqlite://{path}")
    for dataset in ("watchlist", "positions"):
        _take(pipeline, dataset)
    _sqlite(path, "delete from watchlist where symbol = 'KO'; delete from positions where symbol = 'KO'")
    for dataset in ("watchlist", "positions"):
        _take(pipeline, dataset, refetch=True)
        assert _normalize(pipeline, dataset)[0].rows_kept == 5  # three as first fetched, two as fetched again
    pipeline.initialize()
    apple = next(i for i in pipeline.known.instruments if i.symbol == "AAPL")
    bars = [
        {
            **{"instrument_id": apple.instrument_id, "symbol": "AAPL", "provider": "fmp", "dataset": "eod_raw"},
            **{"slice_start_date": day, "session_date": day, "price_basis": "raw", "bronze_sha256": "0" * 64},
            **{"known_at": dt.datetime(2026, 11, 18, 12, tzinfo=dt.UTC), "volume_shares": 1000.0},
            **{f"{price}_usd": close for price in ("open", "high", "low", "close")},
        }
        for day, close in ((dt.date(2026, 11, 16), 9.0), (dt.date(2026, 11, 17), 10.0))
    ]
    schema = contracts.contract("bars_daily").create_empty().schema
    for bar in bars:
        start = bar["slice_start_date"].isoformat()
        put_slice(pipeline.store, Name("bars_daily", "fmp", "eod_raw", start), pl.DataFrame([bar], schema=schema))
    frames = reference.tables(
        pipeline.store, pipeline.providers, pipeline.known, now=pipeline.now(), profile=pipeline.settings.profile
    )
    reference.write(pipeline.store, frames)
    seeding.begin(tmp_path, pipeline.store)
    done = pipeline.dbt.run("run", "--select", "+mart_position", "+mart_watchlist", folder=tmp_path)
    assert done.returncode == 0, done.stdout
    with duckdb.connect(str(tmp_path / seeding.BUILD), read_only=True) as gold:
        assert gold.sql(
            "select account, symbol, instrument_id, session_date, market_value_usd, unrealised_gain_usd "
            "from mart_position order by symbol"
        ).fetchall() == [
            ("broker", "AAPL", apple.instrument_id, dt.date(2026, 11, 17), 105.0, 21.0),
            ("broker", "WHO", None, None, None, None),
        ]
        assert gold.sql("select list_name, symbol, note, close_usd from mart_watchlist order by symbol").fetchall() == [
            ("tech", "AAPL", "mine", 10.0),
            ("tech", "WHO", None, None),
        ]


def test_manifest_is_json_without_foreign_text(server: Postgres, tmp_path: Path) -> None:
    """A wrong query's error names tables and values of the database; none of it is kept."""
    url = server.url.replace(PASSWORD, WRITTEN)
    pipeline = _pipeline(tmp_path, url, SQL_WATCHLIST_QUERY="select 'VALUE-OF-THEIRS'::integer as symbol from no_table")
    report = _take(pipeline, "watchlist")
    assert report.manifest_key is not None
    (entry,) = json.loads((pipeline.settings.lake / report.manifest_key).read_bytes())["requests"]
    assert entry["reason"] == "query_failed"
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"VALUE-OF-THEIRS" not in path.read_bytes()
