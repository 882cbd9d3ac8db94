"""Answers of many pages: each page is kept, a failed one is asked again alone, and no address leads elsewhere."""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path

import httpx2
import polars as pl
import pytest
import stamina

from market_pipeline import layout, manifest
from market_pipeline.brake import Brake
from market_pipeline.errors import PayloadChanged
from market_pipeline.feed import Auth, Feed, Outcome, Provider, Request, Verdict
from market_pipeline.fetch import Client
from market_pipeline.ingest import ingest
from market_pipeline.normalize import normalize
from market_pipeline.partition import Grain, Slice
from market_pipeline.quota import Ledger
from market_pipeline.slice_run import IngestReport
from market_pipeline.store import FolderStore
from wire import FAST, KEY, NOW, reply, tree

BASE = "http://127.0.0.1:9/acme"
PART = Slice.at(NOW.date(), grain=Grain.WEEK)
PAGES, ROWS = 12, 5
pytestmark = pytest.mark.usefixtures("single_try")


def classify(_request: Request, status: int, _kind: str, body: bytes) -> Verdict:
    """Data has `results`; what has a status of 4xx is refused for good."""
    if status != 200:
        return Verdict(Outcome.FAILED, f"http_{status}")
    if "results" not in json.loads(body):
        return Verdict(Outcome.FAILED, "unknown_shape")
    return Verdict(Outcome.FETCHED) if json.loads(body)["results"] else Verdict(Outcome.EMPTY, "no_results")


def parse(body: bytes, _request: Request) -> pl.DataFrame:
    """One ticker a row."""
    rows = json.loads(body)["results"]
    return pl.DataFrame(
        [
            {
                "symbol": row["ticker"],
                "identity": "",
                "listing": "active",
                "is_active": True,
                "name": row["name"],
                "market": "stocks",
            }
            for row in rows
        ]
    )


FEED = Feed(
    dataset="roster",
    contract="tickers",
    grain=Grain.WEEK,
    is_snapshot=True,
    asset_classes=frozenset({"stock"}),
    plan=lambda _part, _members: (Request("all 0001", "/v1/roster", (("limit", "5"),), "json", page=1),),
    classify=classify,
    parse=parse,
    follow=lambda _request, body: json.loads(body).get("next_url"),
    endpoint="/v1/roster",
    description="",
    delay="",
    adjustment="",
    licence_note="",
)
ACME = Provider(
    name="acme",
    title="Acme",
    base_url="https://api.acme.test",
    base_url_setting="ACME_BASE_URL",
    auth=Auth(setting="ACME_KEY", place="query", name="apiKey"),
    plans={"free": FAST},
    plan_setting="ACME_PLAN",
    default_plan="free",
    feeds=(FEED,),
)


class Roster:
    """An endpoint with `pages`: `broken` answers for a page instead of its data, `empty` ones have no rows;
    `generation` changes every cursor."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.broken: dict[int, Callable[[], httpx2.Response]] = {}
        self.next_url: dict[int, str] = {}
        self.empty: set[int] = set()
        self.generation, self.pages = 1, PAGES

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        assert request.url.params["apiKey"] == KEY
        cursor = request.url.params.get("cursor")
        page, generation = 1, self.generation
        if cursor is not None:
            page, generation = json.loads(base64.b64decode(cursor))
        self.asked.append(page)
        if generation != self.generation:
            return reply(b'{"error":"cursor expired"}', 400)
        if page in self.broken:
            return self.broken[page]()
        return reply(self.page(request.url))

    def page(self, url: httpx2.URL) -> bytes:
        """The body for an address, whose next page is at the same host."""
        cursor = url.params.get("cursor")
        page, generation = (1, self.generation) if cursor is None else json.loads(base64.b64decode(cursor))
        names = [f"T{(page - 1) * ROWS + n:03d}" for n in range(0 if page in self.empty else ROWS)]
        body: dict[str, object] = {"results": [{"ticker": name, "name": f"{name} Inc"} for name in names]}
        if page < self.pages:
            cursor = base64.b64encode(json.dumps([page + 1, generation]).encode()).decode()
            here = f"http://{url.host}:{url.port}/acme/v1/roster"
            body["next_url"] = self.next_url.get(page, f"{here}?cursor={cursor}")
        return json.dumps(body).encode()


class Lake:
    """A lake, the endpoint and a clock."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store, self.api, self.now = folder, FolderStore(folder / "lake"), Roster(), NOW

    def client(self) -> Client:
        """A client with the endpoint in the place of the network."""
        return Client(
            ACME,
            base_url=BASE,
            key=KEY,
            pace=FAST,
            ledger=Ledger(self.folder / "quota.sqlite"),
            now=lambda: self.now,
            sleep=lambda _seconds: None,
            transport=httpx2.MockTransport(self.api),
        )

    def take(self, *, refetch: bool = False, brake: Brake | None = None) -> IngestReport:
        """One run."""
        self.api.asked.clear()
        with self.client() as client:
            return ingest(
                ACME,
                FEED,
                PART,
                [],
                store=self.store,
                client=client,
                now=lambda: self.now,
                refetch=refetch,
                brake=brake,
            )

    def symbols(self) -> list[str]:
        """What silver holds."""
        report = normalize(ACME, FEED, PART, store=self.store)
        return pl.read_parquet(self.store.url(report.silver_key)).get_column("symbol").to_list()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """An empty lake."""
    return Lake(tmp_path)


def outcomes(lake: Lake) -> dict[int | None, tuple[str, str]]:
    """What the newest manifest says of each page."""
    committed = manifest.read(lake.store, "acme", "roster", PART.key)
    assert committed is not None
    return {entry.request.page: (entry.outcome.value, entry.reason) for entry in committed.entries}


def test_every_page_is_an_object_of_its_own_and_the_rows_are_all_there(lake: Lake) -> None:
    report = lake.take()
    assert (report.planned, report.fetched, report.calls_used, report.objects_new) == (12, 12, 12, 12)
    assert report.is_complete
    assert lake.api.asked == list(range(1, 13))
    assert lake.symbols() == [f"T{n:03d}" for n in range(60)]


def test_a_second_run_asks_nothing_and_writes_nothing(lake: Lake) -> None:
    lake.take()
    before = tree(lake.folder / "lake")
    assert lake.take().is_complete
    assert lake.api.asked == []
    assert tree(lake.folder / "lake") == before


def test_page_seven_of_twelve_fails_and_only_the_rest_is_asked_again(lake: Lake) -> None:
    lake.api.broken[7] = lambda: reply(b"", 500)
    report = lake.take()
    assert (report.planned, report.fetched, report.failed) == (7, 6, 1)
    assert not report.is_complete
    assert [(p.symbol, p.outcome, p.reason) for p in report.problems] == [("all 0007", "failed", "http_500")]
    assert len(lake.symbols()) == 30
    lake.api.broken.clear()
    report = lake.take()
    assert report.is_complete
    assert lake.api.asked == [7, 8, 9, 10, 11, 12]
    assert lake.symbols() == [f"T{n:03d}" for n in range(60)]


def test_a_page_without_rows_is_not_the_last_one(lake: Lake) -> None:
    lake.api.empty = {3, 12}
    lake.api.broken[5] = lambda: reply(b"", 500)
    assert not lake.take().is_complete
    lake.api.broken.clear()
    report = lake.take()
    assert lake.api.asked == [5, 6, 7, 8, 9, 10, 11, 12]
    assert (report.planned, report.fetched, report.empty) == (12, 10, 2)
    assert report.is_complete
    assert lake.symbols() == [f"T{n:03d}" for n in range(55) if not 10 <= n < 15]


def test_a_cursor_that_has_expired_starts_the_answer_anew(lake: Lake) -> None:
    lake.api.broken[4] = lambda: reply(b"", 500)
    lake.take()
    lake.api.broken.clear()
    lake.api.generation = 2
    lake.now += dt.timedelta(days=1)
    report = lake.take()
    assert lake.api.asked == [4, *range(1, 13)]
    assert report.is_complete
    assert lake.symbols() == [f"T{n:03d}" for n in range(60)]


def test_a_cursor_that_expires_at_once_ends_after_one_more_try(lake: Lake) -> None:
    lake.api.broken[2] = lambda: reply(b'{"error":"cursor expired"}', 400)
    report = lake.take()
    assert lake.api.asked == [1, 2]
    assert (report.fetched, report.failed) == (1, 1)
    assert not lake.take().is_complete
    assert lake.api.asked == [2, 1, 2]


def test_a_repeated_page_ends_the_answer_and_is_said(lake: Lake) -> None:
    same = base64.b64encode(json.dumps([2, 1]).encode()).decode()
    lake.api.next_url[3] = f"{BASE}/v1/roster?cursor={same}"
    report = lake.take()
    assert [(p.symbol, p.reason) for p in report.problems] == [("all 0004", "repeated_next_page")]
    assert lake.api.asked == [1, 2, 3]


@pytest.mark.parametrize("refetch", [False, True])
def test_a_page_that_failed_goes_when_the_answer_has_become_shorter(lake: Lake, *, refetch: bool) -> None:
    lake.api.broken[4] = lambda: reply(b"", 500)
    lake.take()
    lake.api.broken.clear()
    lake.api.generation, lake.api.pages = 2, 2
    lake.now += dt.timedelta(days=1)
    report = lake.take(refetch=refetch)
    assert report.is_complete
    assert outcomes(lake) == {1: ("fetched", ""), 2: ("fetched", ""), 3: ("fetched", "past_the_end")}
    before = tree(lake.folder / "lake")
    assert lake.take().is_complete
    assert lake.api.asked == []
    assert tree(lake.folder / "lake") == before


def test_a_page_past_the_end_is_one_of_the_answer_again_when_that_grows(lake: Lake) -> None:
    lake.take()
    lake.api.generation, lake.api.pages = 2, 3
    assert lake.take(refetch=True).is_complete
    assert [reason for _, reason in outcomes(lake).values()] == [""] * 3 + ["past_the_end"] * 9
    assert lake.symbols() == [f"T{n:03d}" for n in range(60)]
    lake.api.generation, lake.api.pages = 3, 5
    lake.api.broken[5] = lambda: reply(b"", 500)
    lake.take(refetch=True)
    assert [reason for _, reason in outcomes(lake).values()] == [""] * 5 + ["past_the_end"] * 7


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:9/other/v1/roster?cursor=x",
        "http://127.0.0.1:9/acmeevil/v1/roster",
        "http://127.0.0.1:10/acme/v1/roster",
        "http://127.0.0.1/acme/v1/roster",
        "https://127.0.0.1:9/acme/v1/roster",
        "http://127.0.0.1:9@evil.test/acme/v1/roster",
        "http://evil.test:9/acme/v1/roster",
        "http://127.0.0.1.evil.test:9/acme/v1/roster",
        "http://user:word@127.0.0.1:9/acme/v1/roster",
        "//127.0.0.1:9/acme/v1/roster",
        "/acme/v1/roster?cursor=x",
        "v1/roster",
        "",
        "http://127.0.0.1:9/acme/../admin",
        "http://127.0.0.1:9/acme/%2e%2e/admin",
        "http://127.0.0.1:9/acme/%252e%252e/admin",
        "http://127.0.0.1:9/acme//evil.test/x",
        "http://127.0.0.1:9\\@evil.test/acme/v1",
        "http://127.0.0.1:9/acme/v1\\..\\admin",
        "http://127.0.0.1:9/acme/v1/roster#x",
        "http://127.0.0.1:99999/acme/v1/roster",
        "http://127.0.0.1:9/acme/v1/roster?cursor=a b",
        "http://127.0.0.1:9/acme/v1/roster?cursor=a\r\nHost: evil.test",
        "http://127.0.0.1:9/acme/v1/röster",
        "http://[::1]:9/acme/v1/roster",
        "http://0177.0.0.1:9/acme/v1/roster",
        "ftp://127.0.0.1:9/acme/v1/roster",
        "javascript:alert(1)",
        "http://127.0.0.1:9/acme/v1/roster?cursor=%FF%FE",
        "http://127.0.0.1:9/acme/v1/roster?cursor=" + "x" * 9000,
    ],
)
def test_a_hostile_next_address_is_never_asked(lake: Lake, address: str) -> None:
    with lake.client() as client, pytest.raises(PayloadChanged):
        client.page_after(FEED.plan(PART, ())[0], address)
    lake.api.next_url[2] = address
    if address:
        report = lake.take()
        assert lake.api.asked == [1, 2]
        assert [(p.symbol, p.reason) for p in report.problems] == [("all 0003", "foreign_next_page")]


def test_a_key_in_the_next_address_is_in_no_manifest(lake: Lake) -> None:
    cursor = base64.b64encode(json.dumps([2, 1]).encode()).decode()
    lake.api.next_url[1] = f"{BASE}/v1/roster?cursor={cursor}&apiKey={KEY}&echo={KEY}"
    lake.take()
    written = b"".join(path.read_bytes() for path in (lake.folder / "lake").rglob("*") if path.is_file())
    assert b"cursor" in written
    assert KEY.encode() not in written


@pytest.mark.parametrize("place", ["/v1/{key}?cursor=x", "/v1/roster?{key}=x"])
def test_a_next_address_whose_path_or_names_are_the_key_is_never_asked(lake: Lake, place: str) -> None:
    encoded = "".join(f"%{ord(character):02x}" for character in KEY)
    with lake.client() as client, pytest.raises(PayloadChanged, match="the key where no key belongs"):
        client.page_after(FEED.plan(PART, ())[0], BASE + place.format(key=encoded))


def test_a_call_limit_puts_the_rest_off(lake: Lake) -> None:
    report = lake.take(brake=Brake(max_calls=5))
    assert (report.fetched, report.deferred, report.calls_used) == (5, 1, 5)
    assert [p.reason for p in report.problems] == ["call_limit"]
    assert lake.take().is_complete
    assert lake.api.asked == list(range(6, 13))


@pytest.mark.parametrize("limit", [1, 3, 7])
def test_a_call_limit_counts_every_try(lake: Lake, limit: int) -> None:
    lake.api.broken[3] = lambda: reply(b"", 500)
    with stamina.set_testing(True, attempts=5):
        report = lake.take(brake=Brake(max_calls=limit))
    assert lake.api.asked == [1, 2, 3, 3, 3, 3, 3][:limit]
    assert (report.calls_used, report.is_complete) == (limit, False)


def test_other_bytes_on_a_refetch_are_further_payloads_under_the_same_names(lake: Lake) -> None:
    lake.take()
    lake.api.generation, lake.now = 2, NOW + dt.timedelta(hours=1)
    report = lake.take(refetch=True)
    assert report.is_complete
    committed = manifest.read(lake.store, "acme", "roster", PART.key)
    assert committed is not None
    assert [len(entry.payloads) for entry in committed.entries] == [2] * 11 + [1]  # the last page has no cursor
    assert lake.symbols() == [f"T{n:03d}" for n in range(60)]
    assert layout.manifest_seq(committed.key) == 2
