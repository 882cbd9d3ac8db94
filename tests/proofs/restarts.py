"""Promise 12: however often a process is killed and started again within a window, the key's budget is never overspent.

The server counts, not we.
"""

from __future__ import annotations

import random
from pathlib import Path

from market_pipeline.providers.alpha_vantage import PROVIDER
from market_pipeline.quota import Ledger, key_id
from proofs import forks
from proofs.forks import KILLED
from proofs.kills_ingest import body
from proofs.proof import Proof, Result
from wire import FAST, KEY, NOW, Wire, response


def run(count: int, *, seed: int, folder: Path) -> Result:
    """One window of 25 to 80 calls and more symbols than that; `count` processes start in it and are killed after a
    random time, those that end before count too."""
    rng = random.Random(f"restarts {seed}")
    cap = rng.randint(25, 80)
    answers = {symbol: body(f"S{number % 60:02d}") for number, symbol in enumerate(f"N{n:03d}" for n in range(150))}

    def answer(received: bytes, _number: int) -> bytes:
        symbol = received.split(b"symbol=")[1].split(b"&")[0].decode()
        return response(answers[symbol])

    wrong, killed, spent_after = list[str](), 0, 0
    with Wire(answer) as server:
        for start in range(count):
            seconds = rng.uniform(0.02, 0.12)
            code = forks.run("fetch", folder, server.url, ",".join(answers), 0.02, cap, seconds=seconds)
            killed += code == KILLED
            if code not in (0, 7, KILLED):
                wrong.append(f"start {start} ended with {code}")
            if len(server.requests) > cap:
                wrong.append(f"{len(server.requests)} calls after {start + 1} starts, the window has {cap}")
                break
            if len(server.requests) == cap and not spent_after:
                spent_after = start + 1
        forks.run("fetch", folder, server.url, ",".join(answers), 0.02, cap, seconds=240)
        sent = len(server.requests)
    booked = Ledger(folder / "quota.sqlite").budget(PROVIDER.name, key_id(KEY), FAST, now=NOW).used
    if not sent <= booked <= cap or sent < cap - killed:
        wrong.append(f"{sent} calls were sent and {booked} booked, of {cap}")
    return Result(count, tuple(wrong), {"killed": killed, "calls": sent, "calls the windows had": cap})


PROOFS = (Proof(12, "restarts", "restarts inside one quota window", "restarts", 20, 200, 100, run),)
