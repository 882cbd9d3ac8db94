"""What Dagster remembers of its runs, read by connectorx from its own storage: PostgreSQL in containers, else SQLite.

Dagster's interfaces give runs one by one, each with its whole body; these are two tables, read at once into Arrow. What
does not belong here: what a run materialized, which is in the lake and in the event log.
"""

from __future__ import annotations

import io
import json
import os
import re
from pathlib import Path
from urllib.parse import quote, urlsplit

import polars as pl

from market_pipeline.databases import read
from market_pipeline.settings import LOOPBACK, Settings

_NEWEST = 5_000
_STAMP = pl.Datetime("us", "UTC")
RUNS: dict[str, pl.DataType] = {
    "run_id": pl.String(),
    "target": pl.String(),
    "status": pl.String(),
    "started_by": pl.String(),
    "backfill_id": pl.String(),
    "parent_run_id": pl.String(),
    "slice_from": pl.String(),
    "slice_to": pl.String(),
    "created_at": _STAMP,
    "started_at": _STAMP,
    "finished_at": _STAMP,
    "run_seconds": pl.Float64(),
}
_TAGS = {
    "started_by": "market_pipeline/started_by",
    "backfill_id": "dagster/backfill",
    "parent_run_id": "dagster/parent_run_id",
    "slice_key": "dagster/partition",
    "range_start": "dagster/asset_partition_range_start",
    "range_end": "dagster/asset_partition_range_end",
    "schedule": "dagster/schedule_name",
    "sensor": "dagster/sensor_name",
}
# Everything as text: SQLite has no types, and so both answer alike.
_QUERY = f"""
select
    runs.run_id,
    runs.status,
    runs.run_body,
    cast(runs.create_timestamp as text) as created,
    cast(runs.start_time as text) as start_s,
    cast(runs.end_time as text) as end_s,
    {", ".join(f"tags.{name}" for name in _TAGS)}
from (select * from runs order by id desc limit {_NEWEST}) as runs
left join (
    select run_id, {", ".join(f"max(case when key = '{key}' then value end) as {name}" for name, key in _TAGS.items())}
    from run_tags
    group by run_id
) as tags on tags.run_id = runs.run_id
"""  # noqa: S608 - constants


def runs(settings: Settings) -> pl.DataFrame:
    """The newest runs, one row each (columns: `RUNS`); none where Dagster has no storage yet.

    Raises StoreUnavailable when the database does not answer, ConfigurationError when it refuses the login.
    """
    if settings.database_url is None:
        file = settings.dagster_home / "history" / "runs.db"
        if not file.is_file():
            return pl.DataFrame(schema=RUNS)
        address = f"sqlite://{quote(str(file))}"
    else:
        address = _with_password(settings.database_url)
    found = pl.read_parquet(io.BytesIO(read(address, _QUERY, setting="MARKET_PIPELINE_DATABASE_URL")))
    return _shaped(found)


def _shaped(found: pl.DataFrame) -> pl.DataFrame:
    texts = found.select(pl.all().cast(pl.String).replace("", None))
    seconds = {name: pl.col(name).cast(pl.Float64) for name in ("start_s", "end_s")}
    shaped = texts.with_columns(
        target=pl.col("run_body").map_elements(_target, return_dtype=pl.String, skip_nulls=True),
        created_at=pl.col("created").str.to_datetime(
            "%Y-%m-%d %H:%M:%S%.f", time_zone="UTC", time_unit="us", strict=False
        ),
        started_at=(seconds["start_s"] * 1_000_000).cast(pl.Int64).cast(_STAMP),
        finished_at=(seconds["end_s"] * 1_000_000).cast(pl.Int64).cast(_STAMP),
        run_seconds=(seconds["end_s"] - seconds["start_s"]).round(3),
        slice_from=pl.coalesce("range_start", "slice_key"),
        slice_to=pl.coalesce("range_end", "slice_key"),
        status=pl.col("status").str.to_lowercase(),
        started_by=pl.coalesce(
            "started_by", "schedule", "sensor", pl.when(pl.col("backfill_id").is_not_null()).then(pl.lit("backfill"))
        ),
    )
    # Dagster names no assets in a run that takes up a failed one: its target is that one's.
    first = shaped.select(parent_run_id="run_id", parent_target="target")
    shaped = shaped.join(first, on="parent_run_id", how="left").with_columns(
        target=pl.when(pl.col("target") == "").then(pl.col("parent_target").fill_null("")).otherwise(pl.col("target"))
    )
    return shaped.select(pl.col(name).cast(kind) for name, kind in RUNS.items()).sort("created_at", "run_id")


def _target(body: str) -> str:
    """What a run materializes, gold as one: the assets that its body names."""
    selection = (json.loads(body).get("asset_selection") or {}).get("__frozenset__") or []
    names = {"/".join(item["path"]) if item["path"][0] != "gold" else "gold" for item in selection}
    return ", ".join(sorted(names))


def _with_password(url: str) -> str:
    """The address with what libpq would add by itself and connectorx does not: the password, and whether to use TLS,
    which a server beside this container does without."""
    place = urlsplit(url)
    host = place.hostname or ""
    mode = os.environ.get("PGSSLMODE") or ("disable" if host in LOOPBACK or "." not in host else "require")
    word = _password(Path(os.environ.get("PGPASSFILE") or Path.home() / ".pgpass"), place.username or "")
    user = f"{quote(place.username or '')}:{quote(word, safe='')}"
    return place._replace(netloc=f"{user}@{host}:{place.port or 5432}", query=f"sslmode={mode}").geturl()


def _password(file: Path, user: str) -> str:
    """The user's password of a file in libpq's format: host:port:database:user:password."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    rows = (re.split(r"(?<!\\):", line, maxsplit=4) for line in lines if line and not line.startswith("#"))
    word = next((row[4] for row in rows if len(row) == 5 and row[3] in ("*", user)), "")
    return re.sub(r"\\(.)", r"\1", word)
