with

versions as (

    select * from {{ ref('fact_price_version') }}

),

instruments as (

    select * from {{ ref('dim_instrument') }}

),

dates as (

    select * from {{ ref('dim_date') }}

),

sources as (

    select * from {{ ref('dim_source') }}

),

current_versions as (

    select
        *,
        min(provider_rank) over (partition by instrument_id) as best_rank
    from versions
    where is_current

),

bars as (

    select
        current_versions.*,
        instruments.sector,
        coalesce(dates.date_key, 0) as date_key,
        coalesce(sources.source_key, {{ unknown_key() }}) as source_key,
        current_versions.close_usd * current_versions.volume_shares as dollar_volume_usd,
        cast(current_versions.volume_shares as double) as volume
    from current_versions
    left join instruments
        on current_versions.instrument_key = instruments.instrument_key
    left join dates
        on current_versions.session_date = dates.calendar_date
    left join sources
        on
            current_versions.provider = sources.provider
            and sources.contract = 'bars_weekly_adjusted'
    where current_versions.provider_rank = current_versions.best_rank

),

neighbours as (

    select
        *,
        adjusted_close_usd / close_usd as factor,
        case
            when {{ days_between('lag(week_start_date) over in_time', 'week_start_date') }} = 7
                then lag(close_usd) over in_time
        end as old_close_usd,
        lag(adjusted_close_usd / close_usd) over in_time as old_factor
    from bars
    window in_time as (partition by instrument_id order by week_start_date)

),

-- What the factor moved by beyond the week's dividend: 4 for a split of four for one.
splits as (

    select
        *,
        factor / old_factor * (1 - dividend_usd / old_close_usd) as split_ratio
    from neighbours

),

-- A split after the week's first session leaves a bar of two bases: its open is near the close before, as traded, and
-- of its high and low the one that the split moves away from belongs to the days before it.
split_weeks as (

    select
        *,
        case
            when split_ratio > 0 and abs(ln(split_ratio)) > ln(1.15)
                then abs(ln(open_usd / old_close_usd)) < abs(ln(open_usd / old_close_usd * split_ratio))
            else false
        end as is_mixed
    from splits

),

-- High and low are raw; the close's own factor brings them to the adjusted basis.
ranges as (

    select
        *,
        case
            when is_mixed and split_ratio > 1 then greatest(adjusted_close_usd, high_usd * old_factor)
            when is_mixed then greatest(adjusted_close_usd * (high_usd / close_usd), open_usd * old_factor)
            else adjusted_close_usd * (high_usd / close_usd)
        end as adjusted_high_usd,
        case
            when is_mixed and split_ratio > 1
                then least(adjusted_close_usd * (low_usd / close_usd), open_usd * old_factor)
            when is_mixed then least(adjusted_close_usd, low_usd * old_factor)
            else adjusted_close_usd * (low_usd / close_usd)
        end as adjusted_low_usd
    from split_weeks

),

-- After a gap the bar before is not the week before, and a return over several weeks is no weekly return.
returns as (

    select
        *,
        case
            when {{ days_between('lag(week_start_date) over in_time', 'week_start_date') }} = 7
                then adjusted_close_usd / lag(adjusted_close_usd) over in_time - 1
        end as weekly_return_ratio
    from ranges
    window in_time as (partition by instrument_id order by week_start_date)

),

windows as (

    select
        *,
        {{ deviation('weekly_return_ratio', 'last_52', 52) }} * sqrt(52) as volatility_52w_ratio,
        case when count(*) over last_52 >= 52 then max(adjusted_high_usd) over last_52 end as high_52w_usd,
        case when count(*) over last_52 >= 52 then min(adjusted_low_usd) over last_52 end as low_52w_usd,
        {{ zscore('weekly_return_ratio', 'last_52', 52) }} as return_zscore_52w,
        {{ zscore('adjusted_close_usd', 'last_52', 52) }} as price_zscore_52w,
        {{ zscore('volume', 'last_52', 52) }} as volume_zscore_52w
    from returns
    window last_52 as (
        partition by instrument_id order by week_start_date rows between 51 preceding and current row
    )

),

benchmarks as (

    select
        *,
        avg(volatility_52w_ratio) over (partition by sector, week_start_date) as sector_volatility_ratio,
        avg(volatility_52w_ratio) over (partition by week_start_date) as universe_volatility_ratio
    from windows

),

prices as (

    select
        {{ surrogate_key(['instrument_id', 'week_start_date']) }} as price_key,
        instrument_key,
        date_key,
        source_key,
        instrument_id,
        symbol,
        week_start_date,
        session_date,
        open_usd,
        high_usd,
        low_usd,
        close_usd,
        adjusted_close_usd,
        volume_shares,
        dividend_usd,
        dollar_volume_usd,
        weekly_return_ratio,
        volatility_52w_ratio,
        high_52w_usd,
        low_52w_usd,
        adjusted_close_usd / high_52w_usd - 1 as distance_to_high_52w_ratio,
        adjusted_close_usd / low_52w_usd - 1 as distance_to_low_52w_ratio,
        case
            when sector is not null and sector_volatility_ratio > 0
                then volatility_52w_ratio / sector_volatility_ratio
        end as volatility_to_sector_ratio,
        case
            when universe_volatility_ratio > 0 then volatility_52w_ratio / universe_volatility_ratio
        end as volatility_to_universe_ratio,
        return_zscore_52w,
        price_zscore_52w,
        volume_zscore_52w,
        is_partial_week,
        known_from as known_at,
        version_number
    from benchmarks

)

select * from prices
