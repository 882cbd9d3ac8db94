{{ config(materialized='view') }}
with

instruments as (

    select * from {{ ref('dim_instrument') }}

),

profiles as (

    select * from {{ ref('dim_stock_profile') }}

),

current_instruments as (

    select
        instruments.instrument_id,
        instruments.instrument_key,
        instruments.symbol,
        instruments.name,
        instruments.asset_class,
        instruments.exchange,
        instruments.currency,
        instruments.sector,
        instruments.industry,
        instruments.listed_date,
        instruments.delisted_date,
        instruments.is_delisted,
        instruments.is_followed,
        instruments.identity_source,
        profiles.market_capitalization,
        profiles.pe_ratio,
        profiles.beta,
        profiles.dividend_yield_ratio,
        profiles.shares_outstanding,
        profiles.profile_known_at
    from instruments
    left join profiles
        on instruments.instrument_id = profiles.instrument_id
    where instruments.is_current and instruments.instrument_id <> 'unknown'

)

select * from current_instruments
