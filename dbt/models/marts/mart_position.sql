with

positions as (

    select * from {{ ref('stg_positions') }}

),

outcomes as (

    select * from {{ ref('stg_outcomes') }}

),

own_symbols as (

    select * from {{ ref('int_own_symbol') }}

),

prices as (

    select * from {{ ref('fact_daily_price') }}

),

instruments as (

    select * from {{ ref('dim_instrument') }}

),

newest_fetches as (

    select
        provider,
        dataset,
        max(slice_start_date) as slice_start_date,
        max_by(object_sha256, slice_start_date) as object_sha256
    from outcomes
    where contract = 'positions' and object_sha256 is not null
    group by provider, dataset

),

-- The rows of the newest answer; one that came back after another (A, B, A) is there twice.
newest_rows as (

    select
        positions.account,
        positions.symbol,
        max(positions.known_at) as known_at,
        any_value(positions.quantity) as quantity,
        any_value(positions.average_cost) as average_cost,
        any_value(positions.currency) as currency,
        any_value(positions.as_of_date) as as_of_date
    from positions
    inner join newest_fetches
        on
            positions.provider = newest_fetches.provider
            and positions.dataset = newest_fetches.dataset
            and positions.slice_start_date = newest_fetches.slice_start_date
            and positions.bronze_sha256 = newest_fetches.object_sha256
    group by positions.account, positions.symbol

),

priced_positions as (

    select
        newest_rows.*,
        coalesce(instruments.instrument_key, {{ unknown_key() }}) as instrument_key,
        own_symbols.instrument_id,
        prices.session_date,
        prices.close_usd,
        cast(newest_rows.quantity as double) * prices.close_usd as market_value_usd,
        case
            when newest_rows.currency = 'USD'
                then cast(newest_rows.quantity as double) * cast(newest_rows.average_cost as double)
        end as cost_usd
    from newest_rows
    left join own_symbols
        on
            newest_rows.symbol = own_symbols.symbol
            and {{ exchange_date('newest_rows.known_at') }} = own_symbols.known_date
    left join instruments
        on
            own_symbols.instrument_id = instruments.instrument_id
            and instruments.is_current
    left join prices
        on
            own_symbols.instrument_id = prices.instrument_id
            and own_symbols.session_date = prices.session_date

),

valued_positions as (

    select
        {{ surrogate_key(['account', 'symbol']) }} as position_key,
        account,
        symbol,
        instrument_key,
        instrument_id,
        quantity,
        average_cost,
        currency,
        as_of_date,
        session_date,
        close_usd,
        market_value_usd,
        cost_usd,
        market_value_usd - cost_usd as unrealised_gain_usd,
        case when cost_usd <> 0 then (market_value_usd - cost_usd) / abs(cost_usd) end as unrealised_gain_ratio,
        known_at
    from priced_positions

)

select * from valued_positions
