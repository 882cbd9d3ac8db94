-- A fact is imported once for each use: DuckDB keeps a step that is used twice in memory, all rows of it.
with

bars as (

    select * from {{ ref('stg_bars_daily') }}

),

versions as (

    select * from {{ ref('fact_daily_price_version') }}

),

adjusted_versions as (

    select * from {{ ref('fact_daily_price_version') }}

),

prices as (

    select * from {{ ref('fact_daily_price') }}

),

factor_history as (

    select * from {{ ref('fact_daily_price') }}

),

dates as (

    select * from {{ ref('dim_date') }}

),

-- Only the newest word of a feed on a session counts. Two at one instant can't be: `known_at` is part of the key.
adjusted_bars as (

    select
        provider,
        dataset,
        instrument_id,
        session_date,
        price_basis as adjustment,
        close_usd as vendor_close_usd,
        known_at,
        row_number() over (
            partition by provider, dataset, instrument_id, session_date, price_basis order by known_at desc
        ) as backward_number
    from bars
    where price_basis <> 'raw' and instrument_id is not null

),

vendor_closes as (

    select
        provider,
        dataset,
        instrument_id,
        session_date,
        adjustment,
        vendor_close_usd,
        known_at
    from adjusted_bars
    where backward_number = 1
    union all
    select
        provider,
        dataset,
        instrument_id,
        session_date,
        'dividend_adjusted' as adjustment,
        adjusted_close_usd as vendor_close_usd,
        known_from as known_at
    from adjusted_versions
    where is_current and adjusted_close_usd is not null

),

checked_instants as (

    select
        instrument_id,
        known_at
    from vendor_closes
    group by instrument_id, known_at

),

checked_instruments as (

    select instrument_id from checked_instants
    group by instrument_id

),

-- A vendor adjusts for what had happened when we asked, and sessions that we do not ask for again keep that answer:
-- each is anchored at the last session that had closed by then.
moments as (

    select
        factor_history.instrument_id,
        dates.closes_at as instant,
        false as is_answer,
        factor_history.split_factor,
        factor_history.total_factor
    from factor_history
    inner join checked_instruments
        on factor_history.instrument_id = checked_instruments.instrument_id
    inner join dates
        on factor_history.date_key = dates.date_key
    union all
    select
        instrument_id,
        known_at as instant,
        true as is_answer,
        null as split_factor,
        null as total_factor
    from checked_instants

),

anchored_moments as (

    select
        instrument_id,
        instant,
        is_answer,
        {{ last_known('split_factor', 'partition by instrument_id order by instant, is_answer') }}
            as anchor_split_factor,
        {{ last_known('total_factor', 'partition by instrument_id order by instant, is_answer') }}
            as anchor_total_factor
    from moments

),

factors as (

    select
        vendor_closes.*,
        prices.symbol,
        coalesce(versions.close_usd, prices.close_usd) as raw_close_usd,
        case vendor_closes.adjustment
            when 'split_adjusted' then prices.split_factor / anchored_moments.anchor_split_factor
            else prices.total_factor / anchored_moments.anchor_total_factor
        end as adjustment_ratio
    from vendor_closes
    inner join prices
        on
            vendor_closes.instrument_id = prices.instrument_id
            and vendor_closes.session_date = prices.session_date
    inner join anchored_moments
        on
            vendor_closes.instrument_id = anchored_moments.instrument_id
            and vendor_closes.known_at = anchored_moments.instant
            and anchored_moments.is_answer
    left join versions
        on
            vendor_closes.provider = versions.provider
            and vendor_closes.instrument_id = versions.instrument_id
            and vendor_closes.session_date = versions.session_date
            and versions.is_current

),

differences as (

    select
        *,
        raw_close_usd * adjustment_ratio as own_close_usd,
        vendor_close_usd - raw_close_usd * adjustment_ratio as difference_usd,
        -- Both prices are rounded to cents, the raw one before the factor; the rest is the rounding of old dividends.
        0.005 * (1 + adjustment_ratio) + 0.0001 * vendor_close_usd as tolerance_usd
    from factors

),

checks as (

    select
        {{ surrogate_key(['provider', 'dataset', 'instrument_id', 'session_date', 'adjustment']) }}
            as adjustment_check_key,
        provider,
        dataset,
        instrument_id,
        symbol,
        session_date,
        adjustment,
        raw_close_usd,
        adjustment_ratio,
        own_close_usd,
        vendor_close_usd,
        difference_usd,
        tolerance_usd,
        abs(difference_usd) <= tolerance_usd as is_equal,
        known_at
    from differences

)

select * from checks
