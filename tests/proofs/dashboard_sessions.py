"""Promise 17: eight sessions of one dashboard server beside a loop that builds gold by dbt and publishes it.

The server is a real `streamlit run`. A session is a WebSocket that speaks Streamlit's own protocol: it asks for its
page and then, as a browser does, for the fragment that looks for something new, each time that the server wants it to.
What a browser would take to draw is not in it (`test_browser` has that). Counted are the seconds of watching.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from streamlit.proto.Alert_pb2 import Alert
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import ClientConnection, connect

import gold_lake
import warehouse_fixture as fixture
from market_pipeline import catalog
from market_pipeline.settings import REPOSITORY
from proofs import forks, oracle
from proofs.proof import Proof, Result
from test_gold import second_provider

PAGES = ("", "prices", "compare", "sectors", "volatility", "trust", "prices", "compare")
# Under a minute dbt would build nothing: then generations are published that were built before.
SHORTEST_WITH_DBT_S, PAUSE_S = 60, 2.0
# Two seconds are promised; a longer wait may be the machine's, one of thirty is ours.
LIMIT_S = 30.0
MARK, DIGITS = b"Generation ", 6


class Session(threading.Thread):
    """One open page: when it first showed each generation, and every error that it showed."""

    def __init__(self, address: str, page: str) -> None:
        super().__init__(daemon=True)
        self.page, self.shown, self.faults = page, dict[int, float](), list[str]()
        self.runs, self._hash, self.is_drawn = 0, "", False
        self._fragments = dict[str, tuple[float, float]]()  # how often each is wanted, and when next
        self._address, self._has_ended = f"ws://{address}/_stcore/stream", threading.Event()

    def stop(self) -> None:
        """Leave the page."""
        self._has_ended.set()
        self.join(30)

    def run(self) -> None:
        try:
            with connect(self._address, subprotocols=["streamlit"], max_size=None, ping_timeout=60) as opened:  # type: ignore[list-item]
                self._ask(opened)
                while not self._has_ended.is_set():
                    self._ask_due(opened)
                    try:
                        self._take(opened.recv(timeout=0.1))
                    except TimeoutError:
                        continue
        except Exception as error:  # noqa: BLE001 - a session that breaks off is the finding
            self.faults.append(f"{type(error).__name__}: {error}")

    def _ask(self, opened: ClientConnection, fragment: str = "") -> None:
        asked = BackMsg()
        asked.rerun_script.query_string = ""
        if fragment:
            asked.rerun_script.fragment_id, asked.rerun_script.is_auto_rerun = fragment, True
            asked.rerun_script.page_script_hash = self._hash
        else:
            asked.rerun_script.page_name = self.page
        opened.send(asked.SerializeToString())

    def _ask_due(self, opened: ClientConnection) -> None:
        now = time.monotonic()
        for fragment, (every, due) in list(self._fragments.items()):
            if now >= due:
                self._fragments[fragment] = (every, now + every)
                self._ask(opened, fragment)

    def _take(self, data: str | bytes) -> None:
        assert isinstance(data, bytes)
        told = ForwardMsg.FromString(data)
        kind = told.WhichOneof("type")
        if kind == "new_session" and not told.metadata.run.fragment_ids:  # the whole page, not a fragment of it
            self._fragments.clear()
            self.runs += 1
        elif kind == "script_finished":
            self.is_drawn = True
        elif kind == "navigation":
            self._hash = told.navigation.page_script_hash
        elif kind == "auto_rerun":
            every = told.auto_rerun.interval
            self._fragments[told.auto_rerun.fragment_id] = (every, time.monotonic() + every)
        elif kind == "page_not_found":
            self.faults.append(f"no page {self.page}")
        elif kind == "delta":
            element = told.delta.new_element
            if element.HasField("exception"):
                self.faults.append(f"{element.exception.type}: {element.exception.message[:300]}")
            if element.HasField("alert") and element.alert.format == Alert.Format.ERROR:
                self.faults.append(f"an error is shown: {element.alert.body[:300]}")
            at = data.find(MARK)
            number = data[at + len(MARK) : at + len(MARK) + DIGITS]
            if at >= 0 and number.isdigit():
                self.shown.setdefault(int(number), time.time())


class Watcher(threading.Thread):
    """When each generation came into force: the time of the pointer's file, which is written just before."""

    def __init__(self, warehouse: Path) -> None:
        super().__init__(daemon=True)
        self.published = dict[int, float]()
        self.has_ended = threading.Event()
        self._warehouse = warehouse

    def run(self) -> None:
        while not self.has_ended.wait(0.05):
            pointer = self._warehouse / "CURRENT"
            if pointer.is_file():
                at = pointer.stat().st_mtime
                number = int(json.loads(pointer.read_bytes())["generation"])
                self.published.setdefault(number, at)


@contextmanager
def served(home: Path, *, profile: str = "demo") -> Iterator[str]:
    """A dashboard server of a profile; its address, and what it says in `home/streamlit.log`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [sys.executable, "-m", "streamlit", "run", "dashboards/app.py", "--server.headless", "true"]
    with (home / "streamlit.log").open("wb") as log:
        server = subprocess.Popen(
            [*command, "--server.address", "127.0.0.1", "--server.port", address.partition(":")[2]],
            cwd=REPOSITORY,
            env={**os.environ, "MARKET_PIPELINE_HOME": str(home), "MARKET_PIPELINE_PROFILE": profile},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_for(lambda: _answers(f"http://{address}/_stcore/health"), "the dashboard's server", 120)
        yield address
    finally:
        server.terminate()
        server.wait(30)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1):  # noqa: S310 - our own loopback address
            return True
    except OSError:
        return False


def _wait_for(condition: Callable[[], bool], what: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come within {seconds:g} s")
        time.sleep(0.1)


def _publisher(folder: Path, *, with_dbt: bool) -> Callable[[], None]:
    """Prepare, and publish a first generation; gives what publishes the next one."""
    if with_dbt:
        shutil.copytree(REPOSITORY / "dbt", folder / "dbt", ignore=shutil.ignore_patterns("target", "logs"))
        catalog.write(second_provider(), folder / "dbt", folder / "docs")
        gold_lake.write(folder / "lake", gold_lake.silver_bars(), second_provider())

        def build() -> None:
            code = forks.run("build", folder, seconds=300)
            if code != 0:
                raise AssertionError(f"a build of gold ended with {code}")

        build()
        return build
    markets = [fixture.build(folder / f"market-{seed}.duckdb", seed=seed) for seed in (7, 8)]
    fixture.publish(folder / "warehouse", build_db=markets[0])

    def publish() -> None:
        time.sleep(PAUSE_S)
        markets.reverse()
        fixture.publish(folder / "warehouse", build_db=markets[0])

    return publish


def run(count: int, *, seed: int, folder: Path) -> Result:
    """So many seconds of eight sessions beside the loop."""
    profile = folder / "demo"
    profile.mkdir()
    publish = _publisher(profile, with_dbt=count >= SHORTEST_WITH_DBT_S)
    watcher = Watcher(profile / "warehouse")
    with served(folder) as address:
        sessions = [Session(address, page) for page in PAGES]
        watcher.start()
        for session in sessions:
            session.start()
        _wait_for(lambda: all(session.is_drawn or session.faults for session in sessions), "the first page", 300)
        begun, opened_with = time.monotonic(), max(watcher.published)
        while time.monotonic() - begun < count and not any(session.faults for session in sessions):
            publish()
        newest = max(oracle.published(oracle.files(profile / "warehouse")), opened_with)
        seconds = time.monotonic() - begun
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline and not all(newest in session.shown for session in sessions):
            time.sleep(0.1)
        watcher.has_ended.set()
        for session in sessions:
            session.stop()
    log = (folder / "streamlit.log").read_text(errors="replace")
    return _judged(sessions, watcher, opened_with, int(seconds), log)


def _judged(sessions: list[Session], watcher: Watcher, opened_with: int, seconds: int, log: str) -> Result:
    wrong = [f"page {session.page or 'today'}: {fault}" for session in sessions for fault in session.faults[:3]]
    wrong += [f"the server says: {line[:300]}" for line in log.splitlines() if _is_complaint(line)][:5]
    waits = []
    for number, at in watcher.published.items():
        for session in sessions if number > opened_with else ():
            if number not in session.shown:
                wrong.append(f"page {session.page or 'today'} never showed generation {number}")
                continue
            waits.append(session.shown[number] - at)
    waits.sort()
    if not waits:
        wrong.append("nothing was published")
    elif waits[-1] > LIMIT_S:
        wrong.append(f"a generation was shown after {waits[-1]:.1f} s")
    counts = {
        "generations": len([number for number in watcher.published if number > opened_with]),
        "sightings": len(waits),
        "of them within 2 s": sum(wait <= 2 for wait in waits),
        "runs of pages": sum(session.runs for session in sessions),
    }
    worst = {"worst s until shown": round(waits[-1], 2), "median s": round(waits[len(waits) // 2], 2)} if waits else {}
    return Result(seconds, tuple(wrong), counts, worst)


def _is_complaint(line: str) -> bool:
    said = line.casefold()
    return "traceback" in said or "could not set lock" in said or "conflicting lock" in said or "io error" in said


# Twenty seconds of both processors at the least: `test_browser` waits for new generations in the default run.
PROOFS = (
    Proof(17, "sessions", "eight dashboard sessions beside builds by dbt", "seconds", 0, 3600, 300, run, is_soak=True),
)
