"""Weekly bars with the vendor's adjusted close."""

from __future__ import annotations

import dataframely as dy
import polars as pl

from market_pipeline.contracts import SilverRow


class BarsWeeklyAdjusted(SilverRow):
    """One instrument and one week, as known from one fetch. Open to close are as traded, in USD."""

    instrument_id = dy.String(primary_key=True, description="Hash that names the instrument through renames.")
    # The bounds stop what no exchange has seen: one such row would overflow the measures of gold.
    week_start_date = dy.Date(
        primary_key=True,
        resolution="1w",
        description="Monday of the week: the running week's row moves its date, not its week.",
    )
    session_date = dy.Date(description="The provider's label: the last session of the week, exchange calendar date.")
    open_usd = dy.Float64(min=1e-6, max=1e9, description="First trade of the week, raw.")
    high_usd = dy.Float64(min=1e-6, max=1e9, description="Highest trade of the week, raw.")
    low_usd = dy.Float64(min=1e-6, max=1e9, description="Lowest trade of the week, raw.")
    close_usd = dy.Float64(min=1e-6, max=1e9, description="Last close of the week, raw.")
    adjusted_close_usd = dy.Float64(
        min=1e-6,
        max=1e12,  # a series of reverse splits makes early closes large
        description="Close adjusted by the vendor for splits and dividends, anchored at the newest week.",
    )
    volume_shares = dy.Int64(min=0, max=2**53, description="Shares traded in the week, as reported.")
    dividend_usd = dy.Float64(
        min=0, max=1e9, description="Dividend per share whose ex-date lies in the week; 0 when none."
    )

    @dy.rule()
    def high_is_highest(cls) -> pl.Expr:
        return pl.col("high_usd") >= pl.max_horizontal("open_usd", "low_usd", "close_usd")

    @dy.rule()
    def low_is_lowest(cls) -> pl.Expr:
        return pl.col("low_usd") <= pl.min_horizontal("open_usd", "high_usd", "close_usd")

    @dy.rule()
    def session_lies_in_week(cls) -> pl.Expr:
        return (pl.col("session_date") - pl.col("week_start_date")).is_between(pl.duration(days=0), pl.duration(days=6))

    @dy.rule()
    def not_after_fetch(cls) -> pl.Expr:
        return pl.col("session_date") <= pl.col("known_at").dt.convert_time_zone("America/New_York").dt.date()
