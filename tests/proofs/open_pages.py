"""Open pages of one dashboard server, and whether each shows what is published while they are open.

A page is a WebSocket that speaks Streamlit's own protocol: it asks for its page and then, as a browser does, for the
fragment that looks for something new, each time that the server wants it to. What a browser would take to draw is not
in it (`test_browser` has that). Needs nothing but the dashboard's own packages, so `docker/smoke` runs it in its
container:

    open_pages.py ADDRESS WAREHOUSE SECONDS   until standard input ends, or so many seconds
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from streamlit.proto.Alert_pb2 import Alert
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

PAGES = ("", "prices", "compare", "sectors", "volatility", "trust", "prices", "compare")
# Two seconds are promised; a longer wait may be the machine's, one of thirty is ours.
PROMISED_S, LIMIT_S = 2.0, 30.0
_PROTOCOL = Subprotocol("streamlit")
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
            with connect(self._address, subprotocols=[_PROTOCOL], max_size=None, ping_timeout=60) as opened:
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


def are_drawn(sessions: Sequence[Session], *, seconds: float) -> bool:
    """Wait until every page is whole; not so when one has a fault, or takes longer."""
    return _come(lambda: all(session.is_drawn for session in sessions), sessions, seconds)


def have_shown(sessions: Sequence[Session], generation: int, *, seconds: float = LIMIT_S) -> bool:
    """Wait until every page shows a generation; not so when one has a fault, or takes longer."""
    return _come(lambda: all(generation in session.shown for session in sessions), sessions, seconds)


def _come(condition: Callable[[], bool], sessions: Sequence[Session], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline or any(session.faults for session in sessions):
            return False
        time.sleep(0.1)
    return True


def judged(sessions: Sequence[Session], published: Mapping[int, float]) -> tuple[list[str], list[float]]:
    """What is wrong with what the pages showed of the generations that came while they were open, and how many seconds
    after each came each page showed it or its successor, sorted."""
    wrong = [f"page {session.page or 'today'}: {fault}" for session in sessions for fault in session.faults[:3]]
    wrong += [f"page {session.page or 'today'} was never drawn" for session in sessions if not session.is_drawn]
    waits = []
    for number, at in published.items():
        for session in sessions:
            newer = [shown for generation, shown in session.shown.items() if generation >= number]
            if newer:  # what was published again meanwhile is shown as its successor
                waits.append(min(newer) - at)
            else:
                wrong.append(f"page {session.page or 'today'} never showed generation {number}, nor a newer one")
    waits.sort()
    if not waits:
        wrong.append("nothing was published")
    elif waits[-1] > LIMIT_S:
        wrong.append(f"a generation was shown after {waits[-1]:.1f} s")
    return wrong, waits


def main(address: str, warehouse: str, seconds: str) -> int:
    """Open the pages and say what they showed; 1 when something is wrong with it."""
    watcher = Watcher(Path(warehouse))
    watcher.start()
    sessions = [Session(address, page) for page in PAGES]
    for session in sessions:
        session.start()
    if are_drawn(sessions, seconds=300):
        opened_with = max(watcher.published)
        ended = threading.Thread(target=sys.stdin.read, daemon=True)
        ended.start()
        ended.join(float(seconds))
        have_shown(sessions, max(watcher.published))
        published = {number: at for number, at in watcher.published.items() if number > opened_with}
    else:
        published = {}
    for session in sessions:
        session.stop()
    wrong, waits = judged(sessions, published)
    said = "\n".join(wrong)
    if waits:
        within = sum(wait <= PROMISED_S for wait in waits)
        said += (
            f"{len(sessions)} pages showed {len(published)} new generations, {within} of {len(waits)} times within "
            f"{PROMISED_S:g} s, at the latest after {waits[-1]:.1f} s"
        )
    sys.stdout.write(said.strip() + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
