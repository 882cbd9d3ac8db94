"""What every visit of the dashboard runs; `serve` is the server.

A page is one file in `app_pages/` with its TITLE, ICON and ORDER; nothing else knows the list. What every page has is
here: the generation, the freshness by data date, the banners, and the watch for a new generation.
"""

from __future__ import annotations

from typing import Any

import streamlit as st

import warehouse
import words
from cards import nothing_yet, problem
from market_pipeline import logs
from market_pipeline.warehouse import Generation, MarketPipelineError
from pages import PAGES, declared


def pages() -> list[Any]:
    """One page per file, in the files' ORDER; the first is the home page."""
    return [
        st.Page(path, title=values["TITLE"], icon=values["ICON"], url_path=path.stem, default=index == 0)
        for index, (path, values) in enumerate(declared())
    ]


@st.fragment(run_every=0.5)
def watch(seen: str) -> None:
    """Draw the page again when something was published, rolled back, or a run ended."""
    if warehouse.warehouse().stamp() != seen:
        st.rerun(scope="app")


# On a telephone a card's title has a line of its own: beside the buttons it would be a column of single words.
NARROW = """<style>@media (max-width: 640px) {
    [class*=st-key-head-] {flex-wrap: wrap}
    [class*=st-key-head-] > :first-child {flex-basis: 100%}
}</style>"""


def header(title: str, current: Generation) -> None:
    """The page's name, what it shows of which date, and what to mistrust."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.title(title, anchor=False, width="content")
        st.space("stretch")
        freshness()
        st.badge(
            f"Generation {current.generation}",
            icon=":material/deployed_code:",
            color="gray",
            help=f"Published {words.moment(current.published_at)}; {sum(current.tables.values()):,} rows in "
            f"{len(current.tables)} tables; sha256 {current.sha256[:12]}…",
        )
    with st.container(horizontal=True):
        if current.profile != "live":
            what = "a fictional market" if current.profile.startswith("demo") else "sample data"
            st.warning(
                f"Profile **{current.profile}**: {what}. No number here is a real price.",
                icon=":material/theater_comedy:",
            )
        if current.is_partial:
            names = sorted({f"{row['symbol']} ({row['outcome']})" for row in current.missing})
            more = f" and {len(names) - 8} more" if len(names) > 8 else ""
            st.warning(
                f"**Partial**: without the newest data of {', '.join(names[:8])}{more}. `market-pipeline run all` "
                "goes on as soon as the quota allows.",
                icon=":material/group_remove:",
            )


def freshness() -> None:
    """How new the prices are, by their own dates against the exchange's calendar at the newest run's clock."""
    now = warehouse.as_of()
    rows = {row["cadence"]: row for row in warehouse.answer("freshness", as_of=now.isoformat()).rows}
    if not rows:
        st.badge("Prices: none yet", icon=":material/schedule:", color="orange")
        return
    texts = []
    if "day" in rows:
        texts.append(f"{words.day(rows['day']['newest_session_date'])} close{_lag(rows['day'])}")
    if "week" in rows:
        week = rows["week"]
        first, last = words.day(week["newest_week_date"]), words.day(week["newest_session_date"])
        texts.append(f"week of {first}, last session {last}{_lag(week)}")
    is_late = any(
        row["behind_count"] or row["sessions_late"] > (5 if cadence == "week" else 0) for cadence, row in rows.items()
    )
    st.badge(
        f"Prices: {' · '.join(texts)}",
        icon=":material/schedule:",
        color="orange" if is_late else "blue",
        help=f"By data dates, of the followed instruments, against the sessions closed by {words.moment(now)}. Weekly "
        "data: up to five sessions late is a week in progress.",
    )


def _lag(row: dict[str, Any]) -> str:
    """How far behind the calendar a cadence is, and how many instruments are behind the others."""
    late = f", {words.count(row['sessions_late'], 'session')} late" if row["sessions_late"] else ""
    behind = f", {row['behind_count']} of {row['instrument_count']} behind" if row["behind_count"] else ""
    return late + behind


def main() -> None:
    """Draw one page."""
    logs.set_up()
    st.set_page_config(page_title="Market pipeline", page_icon=str(PAGES.with_name("icon.svg")), layout="wide")
    page = st.navigation(pages(), position="top")
    st.html(NARROW)
    door = warehouse.warehouse()
    stamp = door.stamp()
    try:
        current = door.current()
        if current is None:
            st.title(page.title, anchor=False)
            nothing_yet(str(door.folder))
        else:
            with door.connect():  # the file in force is the held one, also where every answer is known already
                header(page.title, current)
                page.run()
    except MarketPipelineError as error:
        problem(error)
    watch(stamp)


main()
