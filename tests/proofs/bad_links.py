"""Promise 7: a bad network between us and the providers. Every request ends with an outcome in time, what is kept is
what the provider sent, and over a good link the next run completes.
"""

from __future__ import annotations

import datetime as dt
import random
import re
import shutil
import time
from pathlib import Path

import stamina

from market_pipeline import fetch, providers
from market_pipeline.brake import Brake
from market_pipeline.feed import Feed, Provider
from market_pipeline.fetch import Patience
from market_pipeline.ingest import ingest, ingest_span
from market_pipeline.partition import Slice
from market_pipeline.sandbox.app import SandboxConfig, running
from market_pipeline.settings import REPOSITORY
from market_pipeline.slice_run import IngestReport
from market_pipeline.store import FolderStore
from proofs import oracle
from proofs.proof import Proof, Result
from proofs.wire_link import KINDS, Fault, link
from wire import client, instrument

NOW = dt.datetime(2026, 11, 20, 22, tzinfo=dt.UTC)
SYMBOLS = ("BQLN", "CQXT", "XLOM")
FEEDS = (("alpha_vantage", "weekly_adjusted"), ("fmp", "eod_raw"), ("polygon", "tickers"))
PATIENCE = Patience(connect_s=0.3, silence_s=0.3, head_s=0.5, body_s=0.8, retry_s=2.0)
# Two tries of a request, with everything that one of them may take.
TRIES = 2
DEADLINE_S = TRIES * (PATIENCE.connect_s + PATIENCE.head_s + PATIENCE.body_s + PATIENCE.silence_s)
GRACE_S = 5.0
_REQUEST_ID = re.compile(rb'"request_id":\s*"[^"]*"')


def _fault(kind: str, rng: random.Random) -> Fault:
    """One of a kind: in the head of an answer or in its body, below the time-outs or above them."""
    after = rng.choice((0, 1, 30, 120, 400, 1500))
    seconds = {
        "latency": rng.choice((0.05, 0.2, 0.45, 0.9)),
        "slow": rng.choice((0.0002, 0.01, 0.1, 0.4)),
        "slicer": rng.choice((0.0, 0.001)),
    }.get(kind, 0.0)
    return Fault(kind, after, seconds)


def _drawn(kinds: list[str], rng: random.Random) -> Fault | None:
    """The next connection's fault; one in three has none."""
    return _fault(kinds[0], rng) if kinds and rng.random() < 0.7 else None


def _take(folder: Path, url: str, provider: Provider, feed: Feed, *, patience: Patience) -> tuple[IngestReport, ...]:
    """One run over three symbols (or the roster, by its pages) of one provider."""
    store, members = FolderStore(folder / "lake"), [instrument(symbol) for symbol in SYMBOLS]
    with client(folder, url=f"{url}/{provider.name}", provider=provider, patience=patience, now=lambda: NOW) as made:
        given = {"store": store, "client": made, "now": lambda: NOW, "brake": Brake()}
        if feed.spans:
            parts = [Slice.at(NOW.date() - dt.timedelta(days=n), grain=feed.grain) for n in (3, 2, 1)]
            return ingest_span(provider, feed, parts, members, **given)
        part = Slice.at(NOW.date(), grain=feed.grain)
        return (ingest(provider, feed, part, members, **given),)


def run(count: int, *, seed: int, folder: Path) -> Result:
    """`count` runs of a feed through a faulty link: each kind of fault in turn, on each provider's wire."""
    rng = random.Random(f"links {seed}")
    loaded, wrong, slowest, requests = providers.load(), list[str](), 0.0, 0
    outcomes: dict[str, int] = {}
    config = SandboxConfig(universe=REPOSITORY / "dbt" / "seeds", clock=NOW, plan="unlimited", roster_size=2500)
    with running(config) as url, stamina.set_testing(True, attempts=TRIES):
        whole = {}
        for name, dataset in FEEDS:
            provider = loaded[name]
            feed = provider.feed(dataset)
            assert feed is not None
            reports = _take(folder / f"good-{name}", url, provider, feed, patience=Patience())
            assert all(report.is_complete for report in reports)
            whole[name] = _contents(folder / f"good-{name}" / "lake", url, url)
        for number in range(count):
            kind, (name, dataset) = KINDS[number % len(KINDS)], FEEDS[number // len(KINDS) % len(FEEDS)]
            provider, home = loaded[name], folder / f"run-{number}"
            feed = provider.feed(dataset)
            assert feed is not None
            about = f"{kind} before {name}, run {number}"
            faults = [kind]
            with link(url, lambda _number, faults=faults: _drawn(faults, rng)) as bad:
                started = time.monotonic()
                reports = _take(home, bad.url, provider, feed, patience=PATIENCE)
                took = time.monotonic() - started
                faults.clear()
                healed = _take(home, bad.url, provider, feed, patience=Patience())
            planned = sum(report.planned for report in reports)
            requests += planned
            slowest = max(slowest, took)
            if took > planned * DEADLINE_S + GRACE_S:
                wrong.append(f"{about}: {took:.1f} s for {planned} requests")
            for report in reports:
                ended = report.fetched + report.empty + report.failed + report.deferred
                if ended != report.planned:
                    wrong.append(f"{about}: {report}")
                for problem in report.problems:
                    outcomes[problem.reason] = outcomes.get(problem.reason, 0) + 1
            if not all(report.is_complete for report in healed):
                wrong.append(f"{about}: the run over a good link did not complete: {healed[0].problems[:2]}")
            elif _contents(home / "lake", bad.url, url) != whole[name]:
                wrong.append(f"{about}: what is kept is not what the provider sent")
            shutil.rmtree(home)
    failures = {f"ended as {reason}": n for reason, n in sorted(outcomes.items())}
    return Result(count, tuple(wrong), {"requests": requests, **failures}, {"slowest run, s": round(slowest, 1)})


def _contents(lake: Path, link_url: str, url: str) -> dict[tuple[str, str], str]:
    """Hashes of what is committed, by slice and request. A page names the next one by the address that it was asked
    under, the link's, and each has an id of its own."""
    files = oracle.files(lake)
    return {
        (folder, name): oracle.sha256(_REQUEST_ID.sub(b"", files[key].replace(link_url.encode(), url.encode())))
        for (folder, name, _), key in oracle.committed(files).items()
    }


assert fetch.TRIES >= TRIES

PROOFS = (Proof(7, "bad-links", "runs of a feed over a faulty link", "runs", 14, 140, 14, run),)
