"""The pages over a published snapshot: each query's time, and the first canvas in a browser.

Each page has a server of its own: the first visit, of a browser that has nothing either, is told apart from the others,
which are new sessions of a warm server in new tabs. Every visit asks for another session or symbol, so that no answer
is in a cache. Beside them stands the floor: a page of Streamlit's with one chart of two bars. The machine's load is
told, since the browser's part is some seconds of processor time.

Needs a Chromium and playwright. A year of the whole market is made by `benchmarks/market_year.py --keep FOLDER`.

    .venv/bin/python benchmarks/first_canvas.py FOLDER [--profile demo] [--repeat 7]
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = ("today", "prices", "compare", "sectors", "volatility", "explorer", "trust")
# Notes when a chart or table first draws; looking at the pixels again and again would cost more than the page.
FLOOR = """import streamlit as st
st.set_page_config(layout="wide")
st.echarts_chart({
    "xAxis": {"type": "category", "data": ["a", "b"]}, "yAxis": {}, "series": [{"type": "bar", "data": [1, 2]}]
})
"""
WATCH = """for (const name of ['fill', 'stroke', 'fillRect', 'fillText']) {
    const draw = CanvasRenderingContext2D.prototype[name];
    CanvasRenderingContext2D.prototype[name] = function (...given) {
        if (!window.drawnAt && this.canvas.closest?.('[data-testid=stEChartsChart], [data-testid=stDataFrame]'))
            window.drawnAt = performance.now();
        return draw.apply(this, given);
    };
}"""


def main() -> None:
    """Measure and print, one line per figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("--profile", default="demo")
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--canvas", action="store_true", help="only the browser's part")
    given = parser.parse_args()
    os.environ |= {"MARKET_PIPELINE_HOME": str(given.home), "MARKET_PIPELINE_PROFILE": given.profile}
    sessions, symbols = _queries(given.repeat if not given.canvas else 0)
    _canvases(given.repeat, sessions, symbols)


def _asked(page: str, number: int, sessions: list[str], symbols: list[str]) -> dict[str, Any]:
    """What the n-th visit of a page asks for."""
    count = len(symbols)
    queries: dict[str, dict[str, Any]] = {
        "today": {"session": sessions[number], "scope": "Whole market" if number % 2 else "Followed"},
        "compare": {"symbols": [symbols[(number + step * 3) % count] for step in range(5)]},
        "sectors": {"range": ("1Y", "6M", "3M", "3Y", "5Y", "All")[number % 6]},
        "explorer": {"sql": f"from dim_date limit {100 + number}"},
        "trust": {},
        "floor": {},
    }
    return queries.get(page, {"symbol": symbols[number % count]})


def _queries(repeat: int) -> tuple[list[str], list[str]]:
    """Time each query of each page without a cache; the sessions and symbols that there are."""
    import streamlit as st
    from streamlit.testing.v1 import AppTest

    from market_pipeline.settings import load_settings
    from market_pipeline.warehouse import Warehouse

    door = Warehouse(load_settings().warehouse)
    days, _ = door.query("select distinct session_date as day from fact_daily_price order by day desc limit 60")
    offered, _ = door.query("select symbol from dim_instrument where is_followed and is_current and not is_delisted")
    sessions = [day.isoformat() for day in days["day"].to_pylist()]
    symbols = sorted(offered["symbol"].to_pylist())
    taken: dict[str, list[float]] = {}
    ask = Warehouse.query

    def timed(self: Warehouse, sql: str, *positional: Any, **named: Any) -> Any:
        started = time.perf_counter()
        try:
            return ask(self, sql, *positional, **named)
        finally:
            taken.setdefault(f"{page:<11}{sql.splitlines()[0][:88]}", []).append(time.perf_counter() - started)

    def show(page: str, **query: Any) -> AppTest:
        test = AppTest.from_file(str(REPOSITORY / "dashboards" / "app.py"), default_timeout=120)
        for name, value in query.items():
            test.query_params[name] = value
        return test.switch_page(f"app_pages/{page}.py").run()

    for page in PAGES:
        show(page)  # imports
        Warehouse.query = timed  # type: ignore[method-assign]
        for number in range(repeat):
            st.cache_data.clear()
            test = show(page, **_asked(page, number, sessions, symbols))
            assert not test.exception, test.exception
            assert not test.error or page == "trust", test.error
        Warehouse.query = ask  # type: ignore[method-assign]
    for name, seconds in sorted(taken.items(), key=lambda item: -statistics.median(item[1])):
        print(f"{_figures(seconds)}  {len(seconds):3} x {name}")
    return sessions, symbols


def _figures(seconds: Sequence[float]) -> str:
    ordered = sorted(seconds)
    high = ordered[min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))]
    return f"p50 {statistics.median(ordered) * 1000:6.0f} ms  p95 {high * 1000:6.0f} ms"


@contextmanager
def _served(page: str) -> Iterator[str]:
    """The dashboard on a free port of this machine, or the floor."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        floor = Path(folder) / "floor.py"
        floor.write_text(FLOOR)
        app = str(floor) if page == "floor" else "dashboards/app.py"
        command = [sys.executable, "-m", "streamlit", "run", app, "--server.port", str(port), "--server.headless=true"]
        server = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            for _ in range(240):
                with suppress(OSError):
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=1).close()
                    break
                time.sleep(0.25)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(20)


def _spent() -> float:
    """Seconds of processor time of this process's living descendants, server and browser: Linux only."""
    parents: dict[int, list[int]] = {}
    seconds: dict[int, float] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            pid = int(stat.parent.name)
            parents.setdefault(int(fields[1]), []).append(pid)
            seconds[pid] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    found, left = 0.0, list(parents.get(os.getpid(), ()))
    while left:
        pid = left.pop()
        found += seconds.get(pid, 0.0)
        left += parents.get(pid, ())
    return found


def _canvases(repeat: int, sessions: list[str], symbols: list[str]) -> None:
    """From the address to the first drawing of a chart or table, and to the end of the page; beside it the processor
    time of server and browser until it is seen."""
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
    if chromium is None:
        sys.exit("No Chromium on this machine")
    with sync_playwright() as driver:
        for page in ("floor", *PAGES):
            with _served(page) as address:
                browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
                context = browser.new_context(viewport={"width": 1440, "height": 1000})
                context.add_init_script(WATCH)
                # Other sessions and symbols than the queries had.
                visits = [
                    _visit(context, address, page, _asked(page, number + repeat, sessions, symbols))
                    for number in range(repeat + 1)
                ]
                browser.close()
            drawn, ended, spent = zip(*visits, strict=True)
            print(
                f"{page:<11}first visit {drawn[0]:5.2f} s, whole {ended[0]:5.2f} s; then {_figures(drawn[1:])}, ",
                end="",
            )
            print(
                f"whole {_figures(ended[1:])}, processor {_figures(spent[1:])}; load {os.getloadavg()[0]:.1f}",
                flush=True,
            )


def _visit(context: Any, address: str, page: str, asked: Mapping[str, Any]) -> tuple[float, float, float]:
    """Seconds to the first drawing and to the end of the page, and of processor time."""
    tab = context.new_page()
    before = _spent()
    path = "" if page in ("floor", "today") else page
    tab.goto(f"{address}/{path}?{urlencode(asked, doseq=True)}", timeout=120_000, wait_until="commit")
    tab.wait_for_function("window.drawnAt > 0", timeout=120_000, polling=50)
    spent = _spent() - before
    tab.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for(timeout=120_000)
    ended = tab.evaluate("performance.now()") / 1000
    drawn = tab.evaluate("window.drawnAt") / 1000
    tab.close()
    return drawn, ended, spent


if __name__ == "__main__":
    main()
