"""What providers that answer in JSON have in common: reading a body, judging a status, rows as text.

What does not belong here: any vendor's members or messages.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NoReturn

import orjson
import polars as pl

from market_pipeline.feed import Outcome, Verdict

DEPTH_MAX = 64
# No answer comes near them. Parsed, a body takes many times its size, so these are looked at before.
BYTES_MAX = 16 * 1024 * 1024
VALUES_MAX = 500_000
_BOM = b"\xef\xbb\xbf"
_RETRIED = frozenset({408, 425})
_NUMERAL = re.compile(r"[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?", re.ASCII)
_NUMBER = "__number"
_SPACED_COLON = re.compile(rb'"[ \t\r\n]+:')


def read(body: bytes) -> object:
    """The parsed body, or the Verdict on one that is none.

    It may be no JSON: nothing, HTML, plain text, something cut (which asking again may mend), or something whole that
    no standard has, such as NaN or Latin-1. It may name a member of an object twice, hold more than `VALUES_MAX` values
    or lines, or be nested deeper than `DEPTH_MAX`: no data is, and readers die of it.
    """
    text = body.removeprefix(_BOM).lstrip(b" \t\r\n")
    if not text:
        return Verdict(Outcome.FAILED, "empty_body", is_retryable=True)
    if text.startswith(b"<"):
        return Verdict(Outcome.FAILED, "html", is_retryable=True)
    if len(text) > BYTES_MAX or text.count(b",") + text.count(b"\n") > VALUES_MAX:
        return Verdict(Outcome.FAILED, "too_many_values")
    try:
        found = load(body)
    except orjson.JSONDecodeError as error:
        if "depth limit" in str(error):
            return Verdict(Outcome.FAILED, "json_too_deep")
        if not text.startswith((b"{", b"[")):
            return Verdict(Outcome.FAILED, "not_json")
        is_cut = not text.rstrip(b" \t\r\n").endswith((b"}", b"]")) or "unexpected end" in str(error)
        return Verdict(Outcome.FAILED, "json_cut_short" if is_cut else "json_invalid", is_retryable=is_cut)
    members = _count_members(found)
    if members is None:
        return Verdict(Outcome.FAILED, "json_too_deep")
    return Verdict(Outcome.FAILED, "duplicate_members") if _has_duplicates(text, members) else found


def _count_members(found: object) -> int | None:
    """How many members the objects have together, None when they are nested too deep."""
    level, members = [found], 0
    for _ in range(DEPTH_MAX):
        members += sum(len(item) for item in level if isinstance(item, dict))
        inner = (item.values() if isinstance(item, dict) else item for item in level if isinstance(item, dict | list))
        level = [value for values in inner for value in values if type(value) in (dict, list)]
        if not level:
            return members
    return None


def _has_duplicates(text: bytes, members: int) -> bool:
    """Whether an object names a member twice, of which parsers keep the last. Each one that is named has a quote and a
    colon, so as many of these as members prove that none is; only a body with others, in a text, is read again."""
    if text.count(b'":') == members and _SPACED_COLON.search(text) is None:
        return False
    try:
        json.loads(text, object_pairs_hook=_distinct)
    except ValueError:
        return True
    return False


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("An object names a member twice")
    return found


def of_message(text: str, known: Iterable[tuple[str, Verdict]]) -> Verdict | None:
    """The verdict of the first fragment that the text holds."""
    return next((verdict for fragment, verdict in known if fragment in text), None)


def of_status(status: int) -> Verdict | None:
    """The verdict of a status when the body says nothing better; None for 200."""
    if status == 200:
        return None
    if status == 401:
        return Verdict(Outcome.REFUSED, "invalid_key", is_key=True)
    if status == 402:
        return Verdict(Outcome.REFUSED, "payment_required")
    if status == 429:
        return Verdict(Outcome.FAILED, "rate_limited", is_retryable=True)
    return Verdict(Outcome.FAILED, f"http_{status}", is_retryable=status in _RETRIED or status >= 500)


def are_rows(found: object, members: frozenset[str]) -> bool:
    """True for objects that have these members between them; one row may lack some, and its contract says which."""
    if not isinstance(found, list) or set(map(type, found)) != {dict}:
        return False
    return members <= set().union(*found)


def load(body: bytes) -> Any:
    """The parsed body. A byte order mark before it is ignored, which RFC 8259 section 8.1 allows and parsers refuse.

    Raises ValueError for what is no JSON.
    """
    return orjson.loads(body.removeprefix(_BOM))


def load_literally(body: bytes) -> Any:
    """The parsed body with every number as the text that was sent: a decimal that passes a float may come out longer.

    Raises ValueError for what is no JSON, and for an object that names a member twice.
    """
    return json.loads(
        body.removeprefix(_BOM), parse_float=str, parse_int=str, parse_constant=_refuse, object_pairs_hook=_distinct
    )


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON")


def as_text(value: object) -> str | None:
    """A value as a contract can cast it; null for a blank. Of an object the JSON, which fits no number and no date."""
    if value is None or isinstance(value, str):
        return (value or "").strip() or None
    if isinstance(value, bool):
        return str(value).lower()
    return orjson.dumps(value).decode() if isinstance(value, dict | list) else str(value)


def text_frame(rows: Sequence[Mapping[str, Any]], members: Mapping[str, str]) -> pl.DataFrame:
    """One row per object and one column of text per member, under the names of `members` (column: member)."""
    # Row by row: many answers are one row, and that many columns of one value take Polars four times as long.
    found = [{column: as_text(row.get(member)) for column, member in members.items()} for row in rows]
    return pl.DataFrame(found, schema=dict.fromkeys(members, pl.String))


def number_repeats(frame: pl.DataFrame, column: str, *, within: Sequence[str]) -> pl.DataFrame:
    """`column` with #2, #3, ... where rows that differ share it and `within`; rows of equal values stay alike.

    All columns are text. The order is that of the rows' own text, first column first, so that the numbers are the same
    in whatever order the provider sends.
    """
    if not frame.select(pl.struct(*within, column).is_duplicated().any()).item():
        return frame
    number = by_value(frame).select(
        pl.concat_str(pl.all().fill_null(""), separator="\x1f").rank("dense").over(*within, column)
    )
    return frame.with_columns(number.to_series().alias(_NUMBER)).select(
        pl.when(pl.col(_NUMBER) > 1).then(pl.format("{}#{}", column, _NUMBER)).otherwise(column).alias(column)
        if name == column
        else name
        for name in frame.columns
    )


def by_value(frame: pl.DataFrame) -> pl.DataFrame:
    """Columns of text with each number in one spelling, so that 1.67, 1.670 and 167e-2 compare as what they are."""
    return frame.with_columns(
        pl.Series(name, [None if text is None else _one_spelling(text) for text in frame.get_column(name)], pl.String)
        for name in frame.columns
    )


def _one_spelling(text: str) -> str:
    if _NUMERAL.fullmatch(text) is None:
        return text
    try:
        number = Decimal(text)
    except ArithmeticError:
        return text
    if not -40 < number.adjusted() < 40 or len(text) > 80:  # written out it would fill pages, and no column takes it
        return text
    plain = f"{number:f}"
    plain = plain.rstrip("0").removesuffix(".") if "." in plain else plain
    return "0" if plain in ("-0", "0") else plain
