with

versions as (

    select * from {{ ref('int_price_version') }}

),

sources as (

    select * from {{ ref('stg_sources') }}

),

instruments as (

    select * from {{ ref('dim_instrument') }}

),

spellings as (

    select * from {{ ref('dim_symbol_history') }}

),

priorities as (

    select
        provider,
        min(priority) as priority
    from sources
    where contract = 'bars_weekly_adjusted'
    group by provider

),

-- One provider per instrument and all its weeks: two vendors' adjustments in one series would make false returns.
ranked_providers as (

    select
        versions.instrument_id,
        versions.provider,
        cast(
            row_number() over (
                partition by versions.instrument_id order by priorities.priority nulls last, versions.provider
            ) as integer
        ) as provider_rank
    from versions
    left join priorities
        on versions.provider = priorities.provider
    group by versions.instrument_id, versions.provider, priorities.priority

),

current_symbols as (

    select
        instrument_id,
        symbol
    from instruments
    where is_current

),

keyed_versions as (

    select
        {{ surrogate_key([
            'versions.provider', 'versions.instrument_id', 'versions.week_start_date', 'versions.version_number'
        ]) }} as price_version_key,
        coalesce(instruments.instrument_key, {{ unknown_key() }}) as instrument_key,
        versions.instrument_id,
        coalesce(spellings.symbol, current_symbols.symbol, versions.asked_symbol) as symbol,
        versions.provider,
        ranked_providers.provider_rank,
        versions.week_start_date,
        versions.session_date,
        versions.version_number,
        versions.open_usd,
        versions.high_usd,
        versions.low_usd,
        versions.close_usd,
        versions.adjusted_close_usd,
        versions.volume_shares,
        versions.dividend_usd,
        versions.known_from,
        versions.known_to,
        versions.is_current,
        versions.is_partial_week
    from versions
    inner join ranked_providers
        on
            versions.instrument_id = ranked_providers.instrument_id
            and versions.provider = ranked_providers.provider
    left join instruments
        on
            versions.instrument_id = instruments.instrument_id
            and versions.session_date >= instruments.valid_from
            and versions.session_date < coalesce(instruments.valid_to, cast('9999-12-31' as date))
    left join spellings
        on
            versions.instrument_id = spellings.instrument_id
            and versions.session_date >= spellings.valid_from
            and versions.session_date < coalesce(spellings.valid_to, cast('9999-12-31' as date))
    left join current_symbols
        on versions.instrument_id = current_symbols.instrument_id

)

select * from keyed_versions
