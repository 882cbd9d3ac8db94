"""A user's own SQL database: watch-lists and positions, a query each.

A feed's request is its dataset's name with the hash of the query; the address and the queries are settings, and the
answer is Parquet that `databases` made of the rows. A query gives the columns of its contract by name, in any order and
case; those that may be null may be missing, and others stay in bronze.
"""

from __future__ import annotations

import hashlib
import io

import polars as pl

from market_pipeline.errors import PayloadChanged
from market_pipeline.feed import Auth, Feed, Outcome, Pace, Plan, Provider, Request, Verdict
from market_pipeline.partition import Grain

NAME = "sql"

_MAGIC = b"PAR1"
_WATCHLIST = {"list_name": True, "symbol": True, "note": False, "added_date": False}
_POSITIONS = {
    "account": True,
    "symbol": True,
    "quantity": True,
    "average_cost": False,
    "currency": True,
    "as_of_date": False,
}
_NAMES = frozenset({"list_name", "account", "symbol", "currency"})


def classify(request: Request, status: int, content_type: str, body: bytes) -> Verdict:
    """A whole Parquet file is data, with or without rows: an empty table is an answer. Else the body is one word."""
    del request, content_type
    if status == 200:
        is_whole = body.startswith(_MAGIC) and body.endswith(_MAGIC) and len(body) > 2 * len(_MAGIC)
        return Verdict(Outcome.FETCHED) if is_whole else Verdict(Outcome.FAILED, "not_parquet")
    if status == 401:
        return Verdict(Outcome.REFUSED, "login_refused", is_key=True)
    return Verdict(Outcome.FAILED, body.decode("ascii", "replace") or f"http_{status}")


def parse_watchlist(body: bytes, request: Request) -> pl.DataFrame:
    """The columns of `watchlist`, as text but for its date."""
    return _parse(body, request, _WATCHLIST)


def parse_positions(body: bytes, request: Request) -> pl.DataFrame:
    """The columns of `positions`, as text but for its date."""
    return _parse(body, request, _POSITIONS)


def _parse(body: bytes, request: Request, wanted: dict[str, bool]) -> pl.DataFrame:
    """`wanted` says of each column whether it must be there. PayloadChanged when one is missing, or there twice."""
    try:
        found = pl.read_parquet(io.BytesIO(body))
        frame = found.rename({name: name.lower() for name in found.columns})
    except pl.exceptions.PolarsError:
        raise _changed(request, "is no Parquet file with a name of its own for each column", "$") from None
    for name, is_required in wanted.items():
        if is_required and name not in frame.columns:
            raise _changed(request, f"gives no column {name}", f"$.{name}")
    columns = [_column(name, frame.schema[name]) for name in wanted if name in frame.columns]
    return frame.select(columns).with_columns(snapshot_sha256=pl.lit(hashlib.sha256(body).hexdigest()))


def _column(name: str, dtype: pl.DataType) -> pl.Expr:
    """A column as the contract can cast it. Numbers go by their text: a binary fraction has too many digits for a
    decimal. Names are without the blanks that a column of fixed width pads them with."""
    if isinstance(dtype, pl.Datetime):
        return pl.col(name).dt.date()
    if isinstance(dtype, pl.Date):
        return pl.col(name)
    text = pl.col(name).cast(pl.String)
    return text.str.strip_chars() if name in _NAMES else text


def _changed(request: Request, what: str, path: str) -> PayloadChanged:
    return PayloadChanged(f"The query of {request.name} {what}", provider=NAME, request=request.name, path=path)


def _whole(dataset: str) -> Plan:
    """A plan of one request for the whole table."""
    return lambda _part, _instruments: (Request(name=dataset, path=f"/{dataset}", params=(), extension="parquet"),)


PROVIDER = Provider(
    name=NAME,
    title="Your own database",
    base_url="https://sql.invalid",
    base_url_setting="",
    auth=Auth(setting="SQL_URL", place="url"),
    plans={"own": Pace(calls_per_day=None, interval_s=0.0)},
    plan_setting="",
    default_plan="own",
    feeds=(
        Feed(
            dataset="watchlist",
            contract="watchlist",
            grain=Grain.DAY,
            is_snapshot=True,
            asset_classes=frozenset(),
            plan=_whole("watchlist"),
            classify=classify,
            parse=parse_watchlist,
            endpoint="SQL_WATCHLIST_QUERY",
            description="Symbols of watch-lists, from a table of yours.",
            delay="As of the fetch, once a day.",
            adjustment="None.",
            licence_note="Yours.",
            query_setting="SQL_WATCHLIST_QUERY",
        ),
        Feed(
            dataset="positions",
            contract="positions",
            grain=Grain.DAY,
            is_snapshot=True,
            asset_classes=frozenset(),
            plan=_whole("positions"),
            classify=classify,
            parse=parse_positions,
            endpoint="SQL_POSITIONS_QUERY",
            description="Positions by account, from a table of yours.",
            delay="As of the fetch, once a day.",
            adjustment="None.",
            licence_note="Yours.",
            query_setting="SQL_POSITIONS_QUERY",
        ),
    ),
)
