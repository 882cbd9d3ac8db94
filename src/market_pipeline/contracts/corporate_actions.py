"""Corporate actions: splits, dividends, and changes of a ticker."""

from __future__ import annotations

import dataframely as dy
import polars as pl

from market_pipeline.contracts import LABEL, SYMBOL, SilverRow


class CorporateActions(SilverRow):
    """One action of one symbol on one date, as known from one fetch."""

    symbol = dy.String(
        primary_key=True,
        regex=SYMBOL,
        description="Spelling under which the provider was asked, or which its payload names.",
    )
    action_type = dy.Enum(
        ["split", "dividend", "ticker_change"], primary_key=True, description="What the action does to the share."
    )
    effective_date = dy.Date(
        primary_key=True,
        description="Ex-date of a dividend, first session after a split, first day of a new ticker.",
    )
    kind = dy.String(
        primary_key=True,
        min_length=1,
        description="The provider's own class (CD, SC, LT, ST, split, ...); a second one of a day ends in #2.",
    )
    split_from = dy.Float64(nullable=True, min=1e-6, max=1e9, description="Old shares that the split takes.")
    split_to = dy.Float64(nullable=True, min=1e-6, max=1e9, description="New shares that it gives for them.")
    cash_amount = dy.Decimal(
        28, 10, nullable=True, min=0, description="Dividend per share on its ex-date, in `currency`, not adjusted."
    )
    adjusted_cash_amount = dy.Decimal(
        28, 10, nullable=True, min=0, description="The same, adjusted by the vendor for later splits."
    )
    currency = dy.String(nullable=True, regex=r"^[A-Z]{3}$", description="ISO 4217.")
    declaration_date = dy.Date(nullable=True, description="Day on which it was announced.")
    record_date = dy.Date(nullable=True, description="Holders of this day receive it.")
    pay_date = dy.Date(nullable=True, description="Day of payment.")
    frequency_per_year = dy.Int64(nullable=True, min=0, max=366, description="Payments a year; 0 for a single one.")
    new_symbol = dy.String(nullable=True, regex=SYMBOL, description="Ticker in force from `effective_date` on.")
    action_id = dy.String(
        nullable=True, metadata={LABEL: True}, description="The provider's own id, where it gives one."
    )

    @dy.rule()
    def split_has_a_ratio(cls) -> pl.Expr:
        has_ratio = pl.col("split_from").is_not_null() & pl.col("split_to").is_not_null()
        return (pl.col("action_type") == "split") == has_ratio

    @dy.rule()
    def dividend_has_an_amount(cls) -> pl.Expr:
        return (pl.col("action_type") == "dividend") == pl.col("cash_amount").is_not_null()

    @dy.rule()
    def change_has_a_symbol(cls) -> pl.Expr:
        return (pl.col("action_type") == "ticker_change") == pl.col("new_symbol").is_not_null()
