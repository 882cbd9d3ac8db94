with

watchlists as (

    select * from {{ ref('stg_watchlist') }}

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
    where contract = 'watchlist' and object_sha256 is not null
    group by provider, dataset

),

-- The rows of the newest answer; one that came back after another (A, B, A) is there twice.
newest_rows as (

    select
        watchlists.list_name,
        watchlists.symbol,
        max(watchlists.known_at) as known_at,
        any_value(watchlists.note) as note,
        any_value(watchlists.added_date) as added_date
    from watchlists
    inner join newest_fetches
        on
            watchlists.provider = newest_fetches.provider
            and watchlists.dataset = newest_fetches.dataset
            and watchlists.slice_start_date = newest_fetches.slice_start_date
            and watchlists.bronze_sha256 = newest_fetches.object_sha256
    group by watchlists.list_name, watchlists.symbol

),

watched_symbols as (

    select
        {{ surrogate_key(['newest_rows.list_name', 'newest_rows.symbol']) }} as watchlist_key,
        newest_rows.list_name,
        newest_rows.symbol,
        newest_rows.note,
        newest_rows.added_date,
        coalesce(instruments.instrument_key, {{ unknown_key() }}) as instrument_key,
        own_symbols.instrument_id,
        instruments.name,
        prices.session_date,
        prices.close_usd,
        prices.total_return_ratio,
        prices.return_zscore_20d,
        prices.return_zscore_252d,
        prices.price_zscore_252d,
        prices.volume_zscore_20d,
        newest_rows.known_at
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

)

select * from watched_symbols
