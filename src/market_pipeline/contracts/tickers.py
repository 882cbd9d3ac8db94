"""The roster of a market: which tickers exist, and which existed."""

from __future__ import annotations

import dataframely as dy
import polars as pl

from market_pipeline.contracts import SYMBOL, VOLATILE, SilverRow


class Tickers(SilverRow):
    """One listing of one ticker, as known from one fetch. A ticker that came back is several listings."""

    symbol = dy.String(primary_key=True, regex=SYMBOL, description="Ticker, case-sensitive, class shares with a dot.")
    identity = dy.String(
        primary_key=True, description="Composite FIGI, else `cik:` and the CIK, else empty: whose ticker it is."
    )
    listing = dy.String(primary_key=True, min_length=1, description="`active`, or the ISO date of the delisting.")
    is_active = dy.Bool(description="Listed on the day of the fetch.")
    delisted_date = dy.Date(nullable=True, description="Day of the delisting, null while it is listed.")
    name = dy.String(min_length=1, description="Name of the issuer or fund.")
    market = dy.String(description="stocks, otc, indices, fx or crypto.")
    locale = dy.String(nullable=True, description="us or global.")
    primary_exchange = dy.String(nullable=True, description="Market identifier code (ISO 10383) of the listing.")
    ticker_type = dy.String(nullable=True, description="The provider's class: CS, ETF, ADRC, WARRANT, ...")
    currency = dy.String(nullable=True, regex=r"^[A-Z]{3}$", description="ISO 4217.")
    cik = dy.String(nullable=True, regex=r"^\d{1,10}$", description="SEC central index key, without padding.")
    composite_figi = dy.String(nullable=True, regex=r"^[A-Z0-9]{12}$", description="FIGI of the listing's country.")
    share_class_figi = dy.String(nullable=True, regex=r"^[A-Z0-9]{12}$", description="FIGI of the share class.")
    last_updated_at = dy.Datetime(
        nullable=True,
        time_unit="ns",
        time_zone="UTC",
        metadata={VOLATILE: True},
        description="Up to when the provider vouches for the row; it moves daily and says nothing of a change.",
    )

    @dy.rule()
    def delisting_is_dated(cls) -> pl.Expr:
        return (pl.col("listing") == "active") == pl.col("is_active")
