with

known_versions as (

    select * from {{ ref('int_instrument_version') }}

),

price_versions as (

    select * from {{ ref('fact_daily_price_version') }}

),

-- Symbols in payloads of the whole market that neither the universe nor the roster knows.
strangers as (

    select
        instrument_id,
        max(instrument_key) as instrument_key,
        max(symbol) as symbol
    from price_versions
    where identity_source = 'symbol'
    group by instrument_id

),

with_unknown as (

    select
        instrument_key,
        instrument_id,
        symbol,
        name,
        asset_class,
        exchange,
        currency,
        sector,
        industry,
        valid_from,
        valid_to,
        is_current,
        listed_date,
        delisted_date,
        is_delisted,
        is_followed,
        identity_source,
        attribute_source
    from known_versions
    union all
    select
        instrument_key,
        instrument_id,
        symbol,
        symbol as name,
        'unknown' as asset_class,
        'unknown' as exchange,
        'USD' as currency,
        null as sector,
        null as industry,
        cast('1900-01-01' as date) as valid_from,
        null as valid_to,
        true as is_current,
        null as listed_date,
        null as delisted_date,
        false as is_delisted,
        false as is_followed,
        'symbol' as identity_source,
        'symbol' as attribute_source
    from strangers
    union all
    select
        {{ unknown_key() }} as instrument_key,
        'unknown' as instrument_id,
        'unknown' as symbol,
        'Unknown' as name,
        'unknown' as asset_class,
        'unknown' as exchange,
        'unknown' as currency,
        null as sector,
        null as industry,
        cast('1900-01-01' as date) as valid_from,
        null as valid_to,
        true as is_current,
        null as listed_date,
        null as delisted_date,
        false as is_delisted,
        false as is_followed,
        'none' as identity_source,
        'none' as attribute_source
    from (select 1) as one_row

)

select * from with_unknown
