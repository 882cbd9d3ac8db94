{{ config(
    materialized='incremental',
    incremental_strategy='append',
    on_schema_change='fail',
    pre_hook="{{ remove_stale(ref('int_daily_price_change'), 'stored_row.daily_price_version_key = stale_row.changed_key and stale_row.is_stored') }}",
    meta={'published_order': ['instrument_id', 'session_date', 'provider', 'version_number']}
) }}
with

versions as (

    select * from {{ ref('int_daily_price_version') }}

),

changes as (

    select * from {{ ref('int_daily_price_change') }}
    where daily_price_version_key is not null

),

new_versions as (

    select
        daily_price_version_key,
        instrument_key,
        source_key,
        instrument_id,
        symbol,
        provider,
        dataset,
        provider_rank,
        session_date,
        version_number,
        open_usd,
        high_usd,
        low_usd,
        close_usd,
        volume_shares,
        vwap_usd,
        transaction_count,
        adjusted_close_usd,
        dividend_usd,
        split_ratio,
        known_from,
        known_to,
        is_current,
        identity_source,
        source_symbol,
        source_instrument_id
    from {{ 'changes' if is_continued() else 'versions' }}

)

select * from new_versions
