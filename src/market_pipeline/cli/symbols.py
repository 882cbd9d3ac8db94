"""Commands on the user's own universe: which symbols are followed beside those of the repository's file, or not."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from market_pipeline.cli.output import data, say, table
from market_pipeline.errors import ConfigurationError, LakeError, unknown
from market_pipeline.settings import Settings, load_settings

if TYPE_CHECKING:
    from market_pipeline.universe import Universe

_LOOKUP = """
select symbol, name, asset_class, exchange, currency, sector, industry, listed_date, delisted_date, instrument_id
from dim_instrument
where is_current and (symbol = $1 or symbol = upper($1)) and symbol <> 'unknown'
order by is_delisted, symbol = $1 desc, listed_date desc nulls last
limit 1
"""
# Vendors that write the dot of a share class as a dash.
_DASHED = ("alpha_vantage", "fmp")


def add(
    symbol: str,
    *,
    name: str = "",
    asset_class: str = "",
    exchange: str = "",
    since: dt.date | None = None,
) -> None:
    """Follow a symbol from now on. What is not said is looked up in the published gold, if it knows the symbol.

    Parameters
    ----------
    symbol
        Ticker as the exchange writes it, class shares with a dot.
    name
        Name of the company or fund.
    asset_class
        stock, etf or index; by default what gold says, else stock.
    exchange
        Where it is listed.
    since
        First day of the listing; by default what gold says, else unknown.
    """
    from market_pipeline import universe  # noqa: PLC0415

    settings = load_settings()
    known = _known(settings)
    found = _in_gold(settings, symbol)
    spelled = str(found["symbol"]) if found else symbol.strip()
    spelled = next((i.symbol for i in known.instruments if i.symbol in (symbol, symbol.upper())), spelled)
    for i in known.instruments:
        if i.symbol == spelled and i.instrument_id in known.followed:
            raise ConfigurationError(f"{spelled} ({i.name}) is followed already, by {_origin(settings, spelled)}")
    is_described = bool(name or asset_class or exchange or since)
    present = any(i.symbol == spelled for i in known.instruments)
    origin = _origin(settings, spelled)
    if present and is_described and origin != _file(settings).name:
        raise ConfigurationError(
            f"{origin} describes {spelled} already; follow it as it is: market-pipeline symbols add {spelled}"
        )
    if not found and not present and not is_described:
        _refuse_stranger(settings, symbol)
    own = {line["symbol"]: line for line in universe.read_own(_file(settings))}
    row = dict.fromkeys(universe.OWN_COLUMNS, "")
    row |= {column: str(value) for column, value in found.items() if value is not None and column in row}
    row["asset_class"] = row["asset_class"] if row["asset_class"] in universe.ASSET_CLASSES else ""
    row |= {column: spelled.replace(".", "-") for column in _DASHED if "." in spelled}
    row |= own.get(spelled, {})
    given = {"name": name, "asset_class": asset_class, "exchange": exchange, "listed_date": str(since or "")}
    row |= {column: value for column, value in given.items() if value}
    row |= {"symbol": spelled, "is_followed": "true"}
    _replace(settings, row)
    (made,) = [r for r in universe.read_own(_file(settings)) if r["symbol"] == spelled]
    say(
        f"{spelled} is followed: {made['name']}, {made['asset_class']}"
        + (f", {made['exchange']}" if made["exchange"] else "")
        + (" (as gold knows it)" if found else "")
        + f". Fetch it: market-pipeline backfill all --since DATE --symbols {spelled}"
    )


def remove(symbol: str) -> None:
    """Stop following a symbol. What was fetched of it stays, in the lake and in gold.

    Parameters
    ----------
    symbol
        A followed symbol.
    """
    from market_pipeline import universe  # noqa: PLC0415

    settings = load_settings()
    known = _known(settings)
    followed = {i.symbol: i for i in known.instruments if i.instrument_id in known.followed}
    spelled = symbol if symbol in followed else symbol.upper()
    if spelled not in followed:
        raise unknown("followed symbol", symbol, followed)
    if symbol in settings.universe or spelled in settings.universe:
        raise ConfigurationError(f"MARKET_PIPELINE_UNIVERSE names {spelled}; take it out there, in .env")
    own = {row["symbol"]: row for row in universe.read_own(_file(settings))}
    i = followed[spelled]
    described = {
        "name": i.name, "asset_class": i.asset_class, "exchange": i.exchange, "currency": i.currency,
        "listed_date": i.listed_date.isoformat(), "instrument_id": i.instrument_id,
    }  # fmt: skip
    _replace(settings, {"symbol": spelled, **own.get(spelled, described), "is_followed": "false"})
    say(f"{spelled} ({i.name}) is not followed any more; what was fetched of it stays")


def list_symbols(*, json: bool = False, all: bool = False) -> None:  # noqa: A002 - the option's name
    """The followed symbols, and which file says so.

    Parameters
    ----------
    json
        JSON on stdout.
    all
        Also those that are known and not followed.
    """
    settings = load_settings()
    known = _known(settings)
    rows = [
        {
            "symbol": i.symbol,
            "name": i.name,
            "asset_class": i.asset_class,
            "exchange": i.exchange,
            "listed_date": i.listed_date.isoformat(),
            "is_followed": i.instrument_id in known.followed,
            "from": _origin(settings, i.symbol),
            "instrument_id": i.instrument_id,
        }
        for i in known.instruments
        if all or i.instrument_id in known.followed
    ]
    if json:
        data(rows)
        return
    shown = ("symbol", "name", "asset_class", "exchange", "listed_date", *(("is_followed",) if all else ()), "from")
    table(shown, [[row[column] for column in shown] for row in rows])
    say(f"{sum(bool(row['is_followed']) for row in rows)} symbols are followed")


def _file(settings: Settings) -> Path:
    from market_pipeline.universe import OWN_FILE  # noqa: PLC0415

    return settings.state / OWN_FILE


def _known(settings: Settings, own: Path | None = None) -> Universe:
    from market_pipeline import universe  # noqa: PLC0415

    seeds = settings.dbt_project / "seeds"
    return universe.load(seeds, is_demo=settings.is_demo, only=settings.universe, own=own or _file(settings))


def _origin(settings: Settings, symbol: str) -> str:
    """The file whose word on a symbol counts."""
    from market_pipeline.universe import read_own  # noqa: PLC0415

    if symbol in settings.universe:
        return "MARKET_PIPELINE_UNIVERSE"
    if any(row["symbol"] == symbol for row in read_own(_file(settings))):
        return _file(settings).name
    return "demo_instruments.csv" if settings.is_demo else "instruments.csv"


def _replace(settings: Settings, row: Mapping[str, str]) -> None:
    """Put a line into the user's file, once the whole universe has been read with it."""
    from market_pipeline import universe  # noqa: PLC0415

    file = _file(settings)
    others = [found for found in universe.read_own(file) if found["symbol"] != row["symbol"]]
    candidate = file.with_name(f"{file.name}.checked")
    try:
        universe.write_own(candidate, [*others, row])
        _known(settings, own=candidate)
        candidate.replace(file)
    except ValueError as error:
        raise ConfigurationError(f"{row['symbol']} can't be added: {error}") from None
    finally:
        candidate.unlink(missing_ok=True)


def _in_gold(settings: Settings, symbol: str) -> dict[str, object]:
    """What the published gold knows of a symbol; empty without one."""
    rows = _ask(settings, _LOOKUP, [symbol.strip()])
    return rows[0] if rows else {}


def _refuse_stranger(settings: Settings, symbol: str) -> None:
    """An error for a symbol that a published roster of the whole market lacks; without a roster nobody can tell."""
    rows = _ask(settings, "select symbol from dim_instrument where is_current and symbol <> 'unknown'", None)
    known = _known(settings)
    symbols = [str(row["symbol"]) for row in rows]
    if set(symbols) <= {i.symbol for i in known.instruments}:
        return
    import difflib  # noqa: PLC0415

    close = difflib.get_close_matches(symbol.upper(), symbols, n=1)
    meant = f"; did you mean {close[0]}?" if close else "."
    raise ConfigurationError(
        f"There is no symbol {symbol} among the {len(symbols)} that gold knows{meant} If it is new, describe it: "
        f"market-pipeline symbols add {symbol} --name NAME --asset-class stock"
    )


def _ask(settings: Settings, sql: str, values: list[object] | None) -> list[dict[str, object]]:
    from market_pipeline.warehouse import QueryError, Warehouse  # noqa: PLC0415

    try:
        answer, _ = Warehouse(settings.warehouse).query(sql, values)
    except (LakeError, QueryError):  # nothing is published, or by a version without these columns
        return []
    rows: list[dict[str, object]] = answer.to_pylist()
    return rows
