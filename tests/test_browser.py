"""The dashboard in a real browser: charts are drawn, nothing complains, and a new generation appears by itself.

Screenshots go to MARKET_PIPELINE_SCREENSHOTS, or to the test's own folder.
"""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

import warehouse_fixture as fixture
from dashboard_pages import lengthen
from market_pipeline.warehouse import Warehouse

pytestmark = pytest.mark.browser
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

REPOSITORY = Path(__file__).resolve().parents[1]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
PAGES = {
    "today": "Today",
    "prices": "Prices",
    "compare": "Compare",
    "sectors": "Sectors & volume",
    "volatility": "Volatility",
    "trust": "Trust",
}
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--disable-default-apps", "--disable-sync", "--no-first-run", "--no-proxy-server"),
]
PUBLISHES = int(os.environ.get("MARKET_PIPELINE_TEST_PUBLISHES", "8"))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one published generation, and two markets to publish in turn."""
    folder = tmp_path_factory.mktemp("home")
    for seed in (7, 8):
        fixture.build(folder / f"market-{seed}.duckdb", seed=seed)
    fixture.publish(folder / "demo" / "warehouse", build_db=folder / "market-7.duckdb", is_partial=True)
    return folder


@pytest.fixture(scope="module")
def address(home: Path) -> Iterator[str]:
    """A running dashboard on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = (home / "streamlit.log").open("wb")
    server = subprocess.Popen(
        [sys.executable, "-m", "streamlit", "run", "dashboards/app.py", "--server.port", str(port)],
        cwd=REPOSITORY,
        env={**os.environ, "MARKET_PIPELINE_HOME": str(home), "MARKET_PIPELINE_PROFILE": "demo"},
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                with urllib.request.urlopen(f"{url}/_stcore/health", timeout=1):  # noqa: S310 - our own http address
                    break
            except OSError:
                assert server.poll() is None, (home / "streamlit.log").read_text()
                time.sleep(0.25)
        yield url
    finally:
        server.terminate()
        server.wait(20)
        log.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """The system's Chromium, headless."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: install one to draw the pages")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


def in_themes(names: Iterable[str], *light: str) -> list[tuple[str, str]]:
    """Theme and name: everything in the dark one, some in the light one, all of them when pictures are wanted."""
    every = tuple(names)
    bright = every if "MARKET_PIPELINE_SCREENSHOTS" in os.environ else light
    return [("dark", name) for name in every] + [("light", name) for name in bright]


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    """Where screenshots go."""
    folder = Path(os.environ.get("MARKET_PIPELINE_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class Tab:
    """One page of a browser that remembers every complaint and every address it asked."""

    def __init__(self, browser: Any, *, theme: str = "dark") -> None:
        self.context = browser.new_context(color_scheme=theme, viewport={"width": 1440, "height": 1000})
        self.page = self.context.new_page()
        self.page.set_default_timeout(90_000)  # other workers have the processors for seconds; what is fast is asserted
        self.complaints: list[str] = []
        self.hosts: set[str] = set()
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.complaints.append(f"script: {error}"))
        self.page.on("request", lambda request: self.hosts.add(request.url.split("/")[2]))

    def _on_console(self, message: Any) -> None:
        # Opened below its root, Streamlit's client looks for its server there first: its own two questions get a 404.
        is_probe = message.location["url"].endswith(("/_stcore/health", "/_stcore/host-config"))
        if message.type == "error" and not (is_probe and "404" in message.text):
            self.complaints.append(f"console: {message.text} {message.location['url']}")

    def open(self, url: str) -> Tab:
        self.page.goto(url)
        self.page.locator("h1").first.wait_for()
        return self

    def settle(self) -> None:
        """Wait until the script has ended and nothing is being drawn."""
        self.page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
        self.page.wait_for_timeout(700)

    def keep(self, path: Path) -> None:
        """A picture of the whole page."""
        block = "document.querySelector('[data-testid=stMainBlockContainer]').scrollHeight"
        self.page.set_viewport_size({"width": 1440, "height": max(900, self.page.evaluate(block) + 20)})
        self.settle()
        self.page.screenshot(path=str(path))

    def check(self, address: str) -> None:
        """No complaint, no error box, nothing asked from elsewhere."""
        assert self.complaints == []
        assert self.page.locator("[data-testid=stException], [data-testid=stAlertContentError]").count() == 0
        assert self.hosts == {address.split("/")[2]}
        self.context.close()


def is_drawn(page: Any) -> bool:
    """True when there are charts, and each has a canvas of several colours."""
    return bool(
        page.evaluate(
            """() => {
                 const isDrawn = canvas => {
                   const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
                   const seen = new Set();
                   for (let i = 0; i < pixels.length; i += 404) seen.add(pixels.slice(i, i + 4).join());
                   return seen.size > 3;
                 };
                 const found = [...document.querySelectorAll('[data-testid=stEChartsChart]')];
                 return found.length > 0 && found.every(one => [...one.querySelectorAll('canvas')].some(isDrawn));
               }"""
        )
    )


@pytest.mark.parametrize(("theme", "name"), in_themes(PAGES, "today", "trust"))
def test_a_page_is_drawn(address: str, browser: Any, shots: Path, theme: str, name: str) -> None:
    tab = Tab(browser, theme=theme).open(f"{address}/{'' if name == 'today' else name}?symbol=ORCA")
    tab.page.locator("[data-testid=stEChartsChart] canvas").first.wait_for(timeout=90_000)
    tab.settle()
    assert tab.page.locator("h1").first.inner_text() == PAGES[name]
    assert is_drawn(tab.page)
    tab.keep(shots / f"{name}-{theme}.png")
    tab.check(address)


@pytest.mark.parametrize(
    ("name", "query"),
    {
        "week-total": "symbol=ELKO&bars=Weekly&prices=Total+return&range=All",
        "month": "symbol=ZEBU&bars=Monthly&range=All&averages=20&averages=50&averages=120&averages=200",
        "asof-raw": "symbol=ORCA&prices=Raw&known=2026-05-01&known-at=14:30&range=3Y",
        "feed": "symbol=DODO",
    }.items(),
)
def test_the_price_chart_is_drawn_in_each_way(address: str, browser: Any, shots: Path, name: str, query: str) -> None:
    tab = Tab(browser).open(f"{address}/prices?{query}")
    tab.page.locator("[data-testid=stEChartsChart] canvas").first.wait_for(timeout=90_000)
    tab.settle()
    assert is_drawn(tab.page)
    tab.keep(shots / f"prices-{name}.png")
    tab.check(address)


def test_a_typed_name_leads_to_its_symbol(address: str, browser: Any) -> None:
    """What the box does not offer is searched for on the server."""
    tab = Tab(browser).open(f"{address}/prices?symbol=KIWI")
    tab.page.get_by_role("heading", name="KIWI closed at").wait_for()
    tab.settle()
    box = tab.page.get_by_role("combobox", name="Symbol")
    box.fill("robotics")
    box.press("Enter")
    tab.page.get_by_text("Nothing is called robotics. One of these?").wait_for()
    tab.page.get_by_role("button", name="Orca Robotics").click()
    tab.page.get_by_role("heading", name="ORCA closed at").wait_for()
    tab.page.wait_for_function("location.search.includes('symbol=ORCA')")
    tab.settle()
    tab.check(address)


@pytest.mark.parametrize(("theme", "view"), in_themes(("SQL", "Tables", "Model"), "Model"))
def test_the_explorer_is_drawn(address: str, browser: Any, shots: Path, theme: str, view: str) -> None:
    tab = Tab(browser, theme=theme).open(f"{address}/explorer?tab={view}")
    awaited = "[data-testid=stMermaidChart] img" if view == "Model" else "[data-testid=stDataFrame] canvas"
    tab.page.locator(awaited).first.wait_for(timeout=90_000)
    tab.settle()
    tab.keep(shots / f"explorer-{view.lower()}-{theme}.png")
    tab.check(address)


def test_pages_are_reached_by_clicks_and_keep_the_symbol(address: str, browser: Any) -> None:
    tab = Tab(browser).open(f"{address}/prices?symbol=KIWI")
    tab.page.get_by_role("heading", name="KIWI closed at").wait_for()
    tab.settle()
    tab.page.get_by_role("link", name="Volatility").click()
    tab.page.get_by_role("heading", name="KIWI moved at").wait_for()
    tab.page.get_by_text("3Y", exact=True).click()
    tab.page.wait_for_function("location.search.includes('range=3Y') && location.search.includes('symbol=KIWI')")
    tab.settle()
    tab.check(address)


def test_a_card_is_reached_and_turned_by_keys(address: str, browser: Any) -> None:
    """From the top of the page, by the Tab key alone."""
    tab = Tab(browser, theme="light").open(f"{address}/?session=2026-11-20")
    tab.page.get_by_role("heading", name="followed stocks rose").wait_for()
    tab.settle()
    stops: list[str] = []
    for _ in range(40):
        tab.page.keyboard.press("Tab")
        text = "document.activeElement.innerText || document.activeElement.getAttribute('aria-label') || ''"
        stops.append(tab.page.evaluate(text).split("\n")[-1].strip())
        if stops[-1] == "Chart":
            break
    assert stops[-1] == "Chart", stops
    for name in ("Prices", "Compare", "Trust", "Session", "Followed", "Split-adjusted"):
        assert any(name in stop for stop in stops), (name, stops)
    tab.page.keyboard.press("ArrowRight")
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_function("location.search.includes('indices-view=Table')")
    tab.page.locator("[data-testid=stDataFrame] canvas").first.wait_for()
    tab.settle()
    tab.check(address)


def test_a_part_that_is_dragged_over_is_asked_for_again(address: str, browser: Any, home: Path, shots: Path) -> None:
    """24,000 bars more than the fixture's, thinned to 20,000 points; the part in the middle has all of its bars."""
    market = home / "market-long.duckdb"
    shutil.copy(home / "market-7.duckdb", market)
    lengthen(market, ("WREN",), days=24_000)
    fixture.publish(home / "demo" / "warehouse", build_db=market)
    tab = Tab(browser).open(f"{address}/compare?symbols=WREN&symbols=ORCA&range=All")
    note = tab.page.locator("[class*=st-key-card-lines]").get_by_text("points are drawn, chosen to keep the shape")
    note.wait_for()
    tab.settle()
    chart = tab.page.locator("[data-testid=stEChartsChart] canvas").first
    chart.scroll_into_view_if_needed()
    for _ in range(40):  # the tool is drawn with the chart, which 20,000 points keep busy
        if is_drawn(tab.page):
            break
        tab.page.wait_for_timeout(250)
    tab.page.wait_for_timeout(1500)
    box = chart.bounding_box()
    tab.page.mouse.move(box["x"] + 14, box["y"] + 14)
    tab.page.wait_for_timeout(300)
    tab.page.mouse.click(box["x"] + 14, box["y"] + 14)
    tab.page.wait_for_timeout(500)
    tab.page.mouse.move(box["x"] + 0.45 * box["width"], box["y"] + 150)
    tab.page.mouse.down()
    for step in range(1, 6):
        tab.page.mouse.move(box["x"] + (0.45 + 0.02 * step) * box["width"], box["y"] + 150 + step)
        tab.page.wait_for_timeout(150)
    tab.page.mouse.up()
    tab.page.wait_for_function("location.search.includes('from=') && location.search.includes('to=')")
    note.wait_for(state="detached")
    tab.settle()
    assert is_drawn(tab.page)
    tab.keep(shots / "compare-zoomed.png")
    tab.page.get_by_test_id("stPopover").filter(has_text=" to ").get_by_role("button").click()
    tab.page.get_by_role("button", name="Whole range").click()
    note.wait_for()
    assert "from=" not in tab.page.evaluate("location.search")
    tab.settle()
    tab.check(address)


def test_a_new_generation_appears_within_two_seconds(address: str, browser: Any, home: Path, shots: Path) -> None:
    """The open page shows the number and the new market's close, while readers and writer meet on one folder."""
    folder = home / "demo" / "warehouse"
    warehouse = Warehouse(folder)
    tab = Tab(browser).open(f"{address}/prices?symbol=ORCA")
    tab.page.get_by_role("heading", name="ORCA closed at").wait_for()
    tab.settle()
    waits = []
    for seed in itertools.islice(itertools.cycle((8, 7)), PUBLISHES):
        record = fixture.publish(folder, build_db=home / f"market-{seed}.duckdb")
        started = time.monotonic()
        rows, seen = warehouse.query(
            "select close_usd from fact_daily_price where symbol = 'ORCA' order by session_date desc limit 1"
        )
        assert seen.generation == record.generation
        tab.page.get_by_text(f"Generation {record.generation}").first.wait_for(timeout=10_000)
        waits.append(time.monotonic() - started)
        close = f"ORCA closed at {rows['close_usd'][0].as_py():,.2f} "
        tab.page.get_by_role("heading", name=close).wait_for(timeout=10_000)
    (shots / "waits.txt").write_text(" ".join(f"{wait:.2f}" for wait in waits))
    # Two seconds is the promise; a single wait may meet a machine that is busy with other tests.
    assert statistics.median(waits) < 2, waits
    assert max(waits) < 10, waits
    tab.settle()
    tab.check(address)


def test_an_open_page_sees_the_first_generation(browser: Any, address: str, home: Path) -> None:
    """Nothing published yet, then something: no reload by hand."""
    folder = home / "demo" / "warehouse"
    aside = folder.with_name("aside")
    folder.rename(aside)
    try:
        tab = Tab(browser).open(address)
        tab.page.get_by_text("Nothing is published yet").wait_for()
        aside.rename(folder)
        tab.page.get_by_text("Generation 0000").first.wait_for(timeout=5_000)
    finally:
        if aside.exists():
            aside.rename(folder)
    tab.settle()
    tab.check(address)
