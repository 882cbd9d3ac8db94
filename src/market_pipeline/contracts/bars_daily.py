"""Daily bars: as traded, and beside them the vendors' own adjusted series."""

from __future__ import annotations

import dataframely as dy
import polars as pl

from market_pipeline import calendar
from market_pipeline.contracts import SYMBOL, SilverRow


class BarsDaily(SilverRow):
    """One symbol, one session and one price basis, as known from one fetch. Prices are in USD."""

    symbol = dy.String(
        primary_key=True,
        regex=SYMBOL,
        description="Spelling under which the provider was asked, or which its payload names.",
    )
    session_date = dy.Date(primary_key=True, description="Session of the exchange (XNYS), its calendar date.")
    price_basis = dy.Enum(
        ["raw", "split_adjusted", "dividend_adjusted"],
        primary_key=True,
        description="raw as traded; split_adjusted by the vendor; dividend_adjusted for both by the vendor.",
    )
    # The bounds stop what no exchange has seen: one such row would overflow the measures of gold.
    open_usd = dy.Float64(min=1e-6, max=1e12, description="First trade, in the row's price basis.")
    high_usd = dy.Float64(min=1e-6, max=1e12, description="Highest trade, in the row's price basis.")
    low_usd = dy.Float64(min=1e-6, max=1e12, description="Lowest trade, in the row's price basis.")
    close_usd = dy.Float64(min=1e-6, max=1e12, description="Close, in the row's price basis.")
    volume_shares = dy.Float64(min=0, max=2.0**53, description="Shares traded, as reported; some feeds give fractions.")
    vwap_usd = dy.Float64(
        nullable=True, min=1e-6, max=1e12, description="Volume-weighted average price, where it is a real one."
    )
    transaction_count = dy.Int64(nullable=True, min=0, max=2**53, description="Trades in the session.")
    adjusted_close_usd = dy.Float64(
        nullable=True,
        min=1e-6,
        max=1e15,
        description="Close adjusted by the vendor for splits and dividends, where the same row carries it.",
    )
    dividend_usd = dy.Float64(
        nullable=True, min=0, max=1e9, description="Dividend per share that goes ex on the session, as the row says."
    )
    split_ratio = dy.Float64(
        nullable=True,
        min=1e-6,
        max=1e6,
        description="New shares for one old from this session on, as the row says; 1 when none.",
    )
    is_otc = dy.Bool(nullable=True, description="Traded over the counter, as the provider marks it.")

    @dy.rule()
    def high_is_highest(cls) -> pl.Expr:
        return pl.col("high_usd") >= pl.max_horizontal("open_usd", "low_usd", "close_usd")

    @dy.rule()
    def low_is_lowest(cls) -> pl.Expr:
        return pl.col("low_usd") <= pl.min_horizontal("open_usd", "high_usd", "close_usd")

    @dy.rule()
    def exchange_was_open(cls) -> pl.Expr:
        return calendar.is_session(pl.col("session_date"))

    @dy.rule()
    def session_had_closed(cls) -> pl.Expr:
        # What is no session has the rule above; a bar of a running session still moves.
        return calendar.closes(pl.col("session_date")).le(pl.col("known_at")).fill_null(value=True)
