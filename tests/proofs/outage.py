"""Promise 6: the lake's S3 server is killed in the middle of `market-pipeline run` and stays away for a minute.

The run waits and ends with 0 by itself; nothing that was stored is gone or fetched again, and gold has no key twice. An
outage counts only when the run was in the phase at the kill and still waited when the server came back.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

import duckdb
import httpx2
from minio import Minio

from market_pipeline.buckets import make_buckets
from market_pipeline.sandbox.app import SandboxConfig, running
from market_pipeline.settings import S3, load_settings
from proofs import oracle
from proofs.kills_run import FIRST, SEEDS, SYMBOLS, Victim
from proofs.proof import Proof, Result
from s3_server import ACCESS_KEY, SECRET_KEY, S3Server, running_s3

OUTAGE_S, PATIENCE_S = 60.0, 420.0
PHASES = ("is_fetching", "is_normalizing", "is_in_dbt")
# What one row of a table is about.
BUSINESS_KEYS = {
    "fact_adjusted_prices": "instrument_id, week_start_date",
    "fact_price_version": "provider, instrument_id, week_start_date, version_number",
    "dim_stock": "instrument_id",
}


def calls_to(sandbox: str) -> int:
    """Requests that a sandbox has had so far."""
    state = httpx2.get(f"{sandbox}/_sandbox/state", timeout=60).json()
    return sum(answer["count"] for answer in state["answers"])


class Objects:
    """What is in the server, as another program sees it."""

    def __init__(self, place: S3) -> None:
        address = place.endpoint.partition("://")[2]
        self._client = Minio(endpoint=address, access_key=ACCESS_KEY, secret_key=SECRET_KEY, secure=False)
        self._bucket = place.bucket

    def names(self, prefix: str) -> set[str]:
        """Keys below a prefix."""
        found = self._client.list_objects(self._bucket(prefix), prefix, recursive=True)
        return {str(one.object_name) for one in found}

    def bodies(self, prefix: str) -> dict[str, bytes]:
        """Every object below a prefix."""
        return {name: self.body(name) for name in sorted(self.names(prefix))}

    def body(self, name: str) -> bytes:
        """One object."""
        answer = self._client.get_object(self._bucket(name), name)
        try:
            return bytes(answer.read())
        finally:
            answer.close()
            answer.release_conn()


class RemoteVictim(Victim):
    """A profile whose lake is in the server."""

    def __init__(self, home: Path, url: str, server: S3Server) -> None:
        super().__init__(home, url)
        self.variables |= server.variables
        place = load_settings(self.variables).s3  # a profile has buckets of its own
        assert place is not None
        make_buckets(place)
        self.server, self.lake = server, Objects(place)

    def calls(self) -> int:
        """Requests that the provider has had so far."""
        return calls_to(self.url)

    def of_week(self) -> set[tuple[str, str, str]]:
        """What the week's manifests name; all of it is there with its hash, else oracle.Lost."""
        named = oracle.committed(self.lake.bodies("bronze/"))
        return {found for found in named if found[0].endswith(f"slice={self.key}")}

    def is_fetching(self) -> bool:
        objects = {n for n in self.lake.names("bronze/") if f"slice={self.key}/" in n and n.endswith(".csv")}
        return 0 < len(objects) < SYMBOLS.count(",") + 1

    def is_normalizing(self) -> bool:
        if self._in_silver() >= 2:
            return False
        done = set()
        for name in self.lake.names("bronze/"):
            if f"slice={self.key}/manifest-" in name:
                entries = json.loads(self.lake.body(name))["requests"]
                if all(entry["outcome"] in ("fetched", "empty") for entry in entries):
                    done.add(name.rpartition("/")[0])
        return len(done) == 2

    def _in_silver(self) -> int:
        names = self.lake.names("silver/")
        return len([name for name in names if name.endswith(f"slice={self.key}/part.parquet")])


def run(count: int, *, seed: int, folder: Path) -> Result:
    """So many outages, each in a week of its own, the phases in turn."""
    with (
        running(SandboxConfig(universe=SEEDS, clock=FIRST, plan="unlimited")) as url,
        running_s3(folder / "server") as server,
    ):
        httpx2.put(f"{url}/_sandbox/faults", json=[{"kind": "latency", "seconds": 0.1}]).raise_for_status()
        victim = RemoteVictim(folder, url, server)
        victim.next_week()
        victim.finish()
        usual = victim.calls(), len(victim.of_week())
        counted, longest, wrong = Counter[str](), 0.0, list[str]()
        for number in range(count):
            phase = PHASES[(seed + number) % len(PHASES)]
            victim.next_week()
            try:
                found, seconds = _outage(victim, phase, usual, wrong)
            except oracle.Lost as error:
                wrong.append(f"{phase}: {error}")
                break
            counted[phase] += found
            longest = max(longest, seconds)
            if wrong:
                break
    told = {f"in {phase.removeprefix('is_').replace('in_', '')}": counted[phase] for phase in PHASES}
    return Result(counted.total(), tuple(wrong), told, {"s from the server's start to the run's end": longest})


def _outage(victim: RemoteVictim, phase: str, usual: tuple[int, int], wrong: list[str]) -> tuple[bool, float]:
    """One week's run with one outage; whether it counts, and how long the run went on after it. `usual` is how many
    calls a week takes, and how many payloads it brings."""
    calls, is_inside, known = victim.calls(), getattr(victim, phase), victim.lake.bodies("bronze/")
    process = victim.start()
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not is_inside() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        names = victim.lake.names("bronze/")
        was_inside = is_inside() and process.poll() is None
        victim.server.kill()
        time.sleep(OUTAGE_S)
        has_waited = process.poll() is None
        victim.server.start()
        up_at = time.monotonic()
        _, told = process.communicate(timeout=PATIENCE_S)
        seconds = round(time.monotonic() - up_at, 1)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    if process.returncode != 0:
        wrong.append(f"{phase}: the run ended with {process.returncode}: {told[-600:]}")
        return False, seconds
    bronze = victim.lake.bodies("bronze/")
    if not names <= set(bronze) or not known.items() <= bronze.items():
        wrong.append(f"{phase}: an object that was there before the outage is gone, or another one")
    took = victim.calls() - calls, len(victim.of_week())
    if took != usual:
        wrong.append(f"{phase}: {took[0]} calls and {took[1]} payloads, not {usual[0]} and {usual[1]}")
    wrong += [f"{phase}: {found}" for found in _faults(victim, bronze)]
    return was_inside and has_waited, seconds


def _faults(victim: RemoteVictim, bronze: dict[str, bytes]) -> list[str]:
    """What is not as it should be after a run that met an outage, and after another one of the same week."""
    wrong, calls = list[str](), victim.calls()
    try:
        number = oracle.published(oracle.files(victim.root / "warehouse"))
    except oracle.Lost as error:
        return [str(error)]
    wrong += twice(victim.root / "warehouse" / f"gold-{number:06d}.duckdb", victim.key)
    victim.finish()
    if victim.calls() != calls:
        wrong.append(f"the next run made {victim.calls() - calls} calls")
    if victim.lake.bodies("bronze/") != bronze:
        wrong.append("the next run changed bronze")
    return wrong


def twice(gold: Path, week: str) -> list[str]:
    """Business keys that a generation has more than once, and a week that it lacks."""
    wrong = []
    with duckdb.connect(str(gold), read_only=True) as con:
        for table, columns in BUSINESS_KEYS.items():
            counted = con.execute(
                f"select count(*) from (select 1 from {table} group by {columns} having count(*) > 1)"
            )
            ((number,),) = counted.fetchall()
            if number:
                wrong.append(f"{table} has {number} keys twice")
        ((newest,),) = con.execute("select max(week_start_date) from fact_adjusted_prices").fetchall()
    if str(newest) != week:
        wrong.append(f"gold ends with the week {newest}, not {week}")
    return wrong


# Too long for every run: `test_pipeline_on_stores` has an outage of three seconds in it.
PROOFS = (
    Proof(6, "outage", "the S3 server away for 60 s in the middle of `market-pipeline run`", "outages", 0, 6, 3, run),
)
