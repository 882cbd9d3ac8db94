"""What the reference tables and the quarantine hold, column by column: they have no contract, for their rows are ours.

What does not belong here: how they are made (`reference`), the files that are generated from this (`catalog`).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Column:
    """One column as dbt and the dictionary see it; `conditions` maps a rule's name to SQL that every row satisfies."""

    name: str
    sql_type: str
    is_nullable: bool
    description: str
    conditions: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """One table of silver, reference or quarantine. `origins` are (source, table) pairs that are read and united; a
    contract that no feed satisfies has none. `is_sliced`: a file per session makes it too many files for each build to
    read."""

    name: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    origins: tuple[tuple[str, str], ...]
    rules: tuple[str, ...] = ()
    is_silver: bool = False
    is_sliced: bool = False


def _reference(name: str, description: str, key: str, columns: str) -> Table:
    """A reference table from lines of `name type[?] description`; `?` means that null is allowed."""
    parsed = []
    for line in columns.strip().splitlines():
        column, sql_type, text = line.split(maxsplit=2)
        is_nullable = sql_type.endswith("?")
        sql_type = sql_type.rstrip("?").replace("timestamptz", "timestamp with time zone")
        rule = () if is_nullable else ((f"{column}_not_null", f"{column} is not null"),)
        parsed.append(Column(column, sql_type, is_nullable, text, rule))
    origin = ("quarantine", "rejected") if name == "quarantine" else ("reference", name)
    return Table(name, description, tuple(parsed), tuple(key.split()), (origin,))


REFERENCE = (
    _reference(
        "calendar",
        "One calendar day of the New York exchanges, past and future.",
        "calendar_date",
        """
        calendar_date date The day.
        is_session boolean True when the exchange opens.
        is_half_day boolean True when it closes early.
        opens_at timestamptz? Opening of the session (UTC); null on closed days.
        closes_at timestamptz? Close of the session (UTC); null on closed days.
        """,
    ),
    _reference(
        "instruments",
        "One instrument that the universe's file knows, followed or not.",
        "instrument_id",
        """
        instrument_id varchar Hash that names the instrument through renames.
        symbol varchar Spelling in force.
        name varchar Name of the company or fund.
        asset_class varchar stock, etf or index.
        exchange varchar Listing exchange.
        currency varchar Currency of its prices, ISO 4217.
        sector varchar? Sector; null for funds and indexes.
        industry varchar? Industry; null for funds and indexes.
        listed_date date First day of the listing.
        delisted_date date? Last day of the listing; null while it lasts.
        is_followed boolean True when the pipeline fetches it.
        """,
    ),
    _reference(
        "symbols",
        "One spelling of an instrument over a period.",
        "instrument_id valid_from",
        """
        instrument_id varchar The instrument.
        symbol varchar Its spelling.
        market_symbol varchar The same as payloads of the whole market write it.
        valid_from date First day of the spelling.
        valid_to date? First day after it; null while it is in force.
        """,
    ),
    _reference(
        "sources",
        "One feed of one provider.",
        "provider dataset",
        """
        provider varchar The provider.
        dataset varchar Its name for the dataset.
        contract varchar The silver contract that its rows satisfy.
        endpoint varchar What is asked for.
        title varchar The provider's name.
        description varchar What the feed holds.
        delay varchar How late it is.
        adjustment varchar What its prices are adjusted for.
        licence_note varchar What its terms allow.
        grain varchar Length of a slice: session, day, week or month.
        is_snapshot boolean True when each answer is the whole history.
        priority bigint The lowest wins where several providers have an instrument.
        """,
    ),
    _reference(
        "outcomes",
        "What became of one expected request of one slice.",
        "provider dataset slice_start_date request",
        """
        provider varchar The provider.
        dataset varchar Its dataset.
        contract varchar The silver contract.
        slice_start_date date First day of the slice.
        slice_end_date date First day after it.
        request varchar Name of the request; pages of one answer have one name.
        instrument_id varchar? The instrument; null for a request about the whole market.
        symbol varchar? Spelling under which it was asked; null for a request about the whole market.
        outcome varchar fetched, empty, not_yet, refused, failed, deferred or missing (in no manifest yet).
        reason varchar? A short word for reports.
        fetched_at timestamptz? When it was last asked for (UTC).
        object_key varchar? Key of the newest payload.
        object_sha256 varchar? Its SHA-256.
        object_bytes bigint? Its size.
        manifest_seq bigint? Number of the manifest that says so.
        """,
    ),
    _reference(
        "silver_slices",
        "One file of silver, by which a build finds what changed since the last one.",
        "object_key",
        """
        contract varchar The contract of its rows.
        provider varchar The provider.
        dataset varchar Its dataset.
        slice_start_date date First day of the slice.
        object_key varchar Key of the file in the lake.
        sha256 varchar Its SHA-256.
        bytes bigint Its size.
        """,
    ),
    _reference(
        "pipeline_runs",
        "One run that Dagster remembers: the newest 5,000 at the time of the build.",
        "run_id",
        """
        run_id varchar Dagster's id of the run.
        target varchar What it was to materialize: assets, gold as one; empty where Dagster names none.
        status varchar Dagster's word for its state, in lower case: success, failure, canceled, started and others.
        started_by varchar? Command, schedule, sensor or backfill that began it; null for the user interface.
        backfill_id varchar? Dagster's id of the backfill it belongs to.
        parent_run_id varchar? The failed run that it takes up.
        slice_from varchar? First slice it was asked for.
        slice_to varchar? Last slice it was asked for.
        created_at timestamptz When it was asked for (UTC).
        started_at timestamptz? When its first step could begin (UTC).
        finished_at timestamptz? When it ended (UTC); null while it lasts.
        run_seconds double? Seconds between the two.
        """,
    ),
    _reference(
        "build",
        "The one build that this is.",
        "as_of",
        """
        as_of timestamptz Clock of the build (UTC): what age is measured from.
        profile varchar The profile whose lake this is.
        """,
    ),
)

QUARANTINE = _reference(
    "quarantine",
    "One rejected row and one rule that it broke.",
    "bronze_key slice_start_date row_json rule",
    """
    provider varchar The provider.
    dataset varchar Its dataset.
    contract varchar The contract whose rule was broken.
    slice_start_date date First day of the slice the row was fetched in.
    instrument_id varchar? The instrument.
    symbol varchar? Spelling under which it was asked.
    rule varchar Name of the broken rule.
    row_json varchar The row as parsed, before casting, as JSON.
    bronze_key varchar Key of the payload it was read from.
    known_at timestamptz When that payload was fetched (UTC).
    """,
)
