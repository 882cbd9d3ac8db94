"""Company profiles: what a provider says of an issuer on the day we asked."""

from __future__ import annotations

import dataframely as dy

from market_pipeline.contracts import SilverRow


def _amount(description: str) -> dy.Float64:
    return dy.Float64(nullable=True, description=description)


class CompanyProfile(SilverRow):
    """One instrument, as known from one fetch. Money is in the profile's own `currency`."""

    instrument_id = dy.String(primary_key=True, description="Hash that names the instrument through renames.")
    name = dy.String(min_length=1, description="Name of the company.")
    asset_type = dy.String(nullable=True, description="The provider's class, such as Common Stock.")
    exchange = dy.String(nullable=True, description="Listing exchange as the provider writes it.")
    currency = dy.String(nullable=True, regex=r"^[A-Za-z]{3}$", description="Currency of the amounts, ISO 4217.")
    country = dy.String(nullable=True, description="Country of the issuer.")
    sector = dy.String(nullable=True, description="Sector as the provider writes it.")
    industry = dy.String(nullable=True, description="Industry as the provider writes it.")
    cik = dy.String(nullable=True, regex=r"^\d{1,10}$", description="SEC central index key, without padding.")
    fiscal_year_end = dy.String(nullable=True, description="Month in which the fiscal year ends.")
    latest_quarter_date = dy.Date(nullable=True, description="Last day of the newest reported quarter.")
    market_capitalization = dy.Float64(nullable=True, min=0, description="Market value of the shares, in `currency`.")
    ebitda = _amount("EBITDA of the trailing twelve months, in `currency`.")
    pe_ratio = _amount("Price over earnings per share of the trailing twelve months.")
    peg_ratio = _amount("P/E over expected earnings growth.")
    book_value_per_share = _amount("Book value per share, in `currency`.")
    dividend_per_share = dy.Float64(nullable=True, min=0, description="Annual dividend per share, in `currency`.")
    dividend_yield_ratio = dy.Float64(nullable=True, min=0, description="Annual dividend over price; 0.03 is 3 %.")
    eps_diluted_ttm = _amount("Diluted earnings per share of the trailing twelve months, in `currency`.")
    revenue_ttm = _amount("Revenue of the trailing twelve months, in `currency`.")
    profit_margin_ratio = _amount("Net profit over revenue; 0.15 is 15 %.")
    beta = _amount("Beta as the provider computes it; window and benchmark are not stated.")
    shares_outstanding = dy.Int64(nullable=True, min=0, description="Shares outstanding.")
    dividend_date = dy.Date(nullable=True, description="Next or last payment date of a dividend.")
    ex_dividend_date = dy.Date(nullable=True, description="Next or last ex-dividend date.")
    isin = dy.String(nullable=True, regex=r"^[A-Z]{2}[A-Z0-9]{9}\d$", description="International securities number.")
    ipo_date = dy.Date(nullable=True, description="First day of trading, as the provider has it.")
    is_actively_trading = dy.Bool(nullable=True, description="False for an instrument that is delisted or halted.")
