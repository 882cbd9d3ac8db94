-- Longer than most models: weeks and months are one text, so that they can't drift apart.
-- A fact is imported once for each use: DuckDB keeps a step that is used twice in memory, all rows of it.
with

prices as (

    select * from {{ ref('fact_daily_price') }}

),

first_sessions as (

    select * from {{ ref('fact_daily_price') }}

),

last_sessions as (

    select * from {{ ref('fact_daily_price') }}

),

instruments as (

    select * from {{ ref('dim_instrument') }}

),

dates as (

    select * from {{ ref('dim_date') }}

),

cadences as (

    select
        'week' as cadence,
        3 as minimum_returns
    union all
    select
        'month' as cadence,
        10 as minimum_returns

),

sessions as (

    select
        prices.instrument_id,
        cadences.cadence,
        case cadences.cadence
            when 'week' then {{ week_start('prices.session_date') }}
            else cast(date_trunc('month', prices.session_date) as date)
        end as period_start_date,
        prices.session_date,
        prices.split_factor,
        prices.high_usd,
        prices.low_usd,
        prices.volume_shares,
        prices.dollar_volume_usd,
        prices.dividend_usd,
        prices.log_return
    from prices
    cross join cadences

),

-- The days of a period that have one basis: all of them, but where a split falls inside.
parts as (

    select
        instrument_id,
        cadence,
        period_start_date,
        split_factor,
        min(session_date) as first_session_date,
        max(session_date) as session_date,
        count(*) as session_count,
        max(high_usd) as high_usd,
        min(low_usd) as low_usd,
        sum(volume_shares) as volume_shares,
        sum(dollar_volume_usd) as dollar_volume_usd,
        sum(dividend_usd) as dividend_usd,
        count(log_return) as return_count,
        avg(log_return) as mean_return,
        coalesce(var_samp(log_return), 0) as return_variance,
        max(log_return) as highest_return,
        min(log_return) as lowest_return
    from sessions
    group by instrument_id, cadence, period_start_date, split_factor

),

-- All parts are brought to the basis of the last session. Where it is theirs the ratio is exactly 1, so that prices
-- stay what they are to the last digit.
rebased_parts as (

    select
        *,
        split_factor / last_value(split_factor) over (
            partition by instrument_id, cadence, period_start_date
            order by session_date
            rows between unbounded preceding and unbounded following
        ) as basis_ratio,
        sum(return_count * mean_return) over (partition by instrument_id, cadence, period_start_date)
        / nullif(sum(return_count) over (partition by instrument_id, cadence, period_start_date), 0)
            as period_mean_return
    from parts

),

summed_periods as (

    select
        instrument_id,
        cadence,
        period_start_date,
        min(first_session_date) as first_session_date,
        max(session_date) as session_date,
        cast(sum(session_count) as bigint) as session_count,
        max(high_usd * basis_ratio) as high_usd,
        min(low_usd * basis_ratio) as low_usd,
        sum(volume_shares / basis_ratio) as volume_shares,
        sum(dollar_volume_usd) as dollar_volume_usd,
        sum(dividend_usd * basis_ratio) as dividend_usd,
        sum(return_count) as return_count,
        -- The squares within the parts and between them. A series that stands still differs by rounding noise only,
        -- and a deviation made of noise is none.
        case
            when max(highest_return) - min(lowest_return) > 1e-12
                then sqrt(
                    sum(
                        (greatest(return_count, 1) - 1) * return_variance
                        + return_count * coalesce(mean_return - period_mean_return, 0)
                        * coalesce(mean_return - period_mean_return, 0)
                    ) / (sum(return_count) - 1)
                )
            else 0.0
        end as return_deviation
    from rebased_parts
    group by instrument_id, cadence, period_start_date

),

periods as (

    select
        summed_periods.*,
        last_sessions.instrument_key,
        last_sessions.symbol,
        first_sessions.open_usd * (first_sessions.split_factor / last_sessions.split_factor) as open_usd,
        last_sessions.close_usd,
        first_sessions.split_ratio * (last_sessions.split_factor / first_sessions.split_factor) as split_ratio,
        last_sessions.split_factor,
        last_sessions.total_factor
    from summed_periods
    inner join first_sessions
        on
            summed_periods.instrument_id = first_sessions.instrument_id
            and summed_periods.first_session_date = first_sessions.session_date
    inner join last_sessions
        on
            summed_periods.instrument_id = last_sessions.instrument_id
            and summed_periods.session_date = last_sessions.session_date

),

calendar_days as (

    select
        *,
        count(case when is_session then 1 end) over (
            order by calendar_date rows between unbounded preceding and current row
        ) as sessions_through
    from dates
    where calendar_date is not null

),

period_days as (

    select
        cadences.cadence,
        case cadences.cadence
            when 'week' then calendar_days.week_start_date
            else calendar_days.month_start_date
        end as period_start_date,
        calendar_days.calendar_date
    from calendar_days
    cross join cadences

),

calendar_periods as (

    select
        cadence,
        period_start_date,
        min(calendar_date) as first_date,
        max(calendar_date) as last_date
    from period_days
    group by cadence, period_start_date

),

-- Sessions are expected while the instrument is listed; a bar outside the listing says that the listing's dates are
-- wrong, and widens it.
bounded_periods as (

    select
        periods.*,
        case
            when instruments.listed_date > periods.first_session_date then periods.first_session_date
            when instruments.listed_date > calendar_periods.first_date then instruments.listed_date
            else calendar_periods.first_date
        end as first_expected_date,
        case
            when instruments.delisted_date < periods.session_date then periods.session_date
            when instruments.delisted_date < calendar_periods.last_date then instruments.delisted_date
            else calendar_periods.last_date
        end as last_expected_date
    from periods
    left join calendar_periods
        on
            periods.cadence = calendar_periods.cadence
            and periods.period_start_date = calendar_periods.period_start_date
    left join instruments
        on
            periods.instrument_id = instruments.instrument_id
            and instruments.is_current

),

counted_periods as (

    select
        bounded_periods.*,
        last_days.sessions_through
        - first_days.sessions_through
        + case when first_days.is_session then 1 else 0 end as expected_session_count,
        last_days.sessions_through - newest_days.sessions_through as sessions_to_come
    from bounded_periods
    left join calendar_days as first_days
        on bounded_periods.first_expected_date = first_days.calendar_date
    left join calendar_days as newest_days
        on bounded_periods.session_date = newest_days.calendar_date
    left join calendar_days as last_days
        on bounded_periods.last_expected_date = last_days.calendar_date

),

neighbours as (

    select
        *,
        -- Over a gap of a whole period the close before is not that of the period before.
        coalesce(
            lag(period_start_date) over in_time = case cadence
                when 'week' then {{ add_days('period_start_date', -7) }}
                else cast(date_trunc('month', {{ add_days('period_start_date', -1) }}) as date)
            end,
            false
        ) as follows_period_before,
        lag(close_usd * split_factor) over in_time as old_split_level,
        lag(close_usd * total_factor) over in_time as old_total_level
    from counted_periods
    window in_time as (partition by instrument_id, cadence order by period_start_date)

),

measured_periods as (

    select
        neighbours.instrument_id,
        neighbours.cadence,
        neighbours.period_start_date,
        neighbours.instrument_key,
        {{ date_key('neighbours.session_date') }} as date_key,
        neighbours.symbol,
        neighbours.first_session_date,
        neighbours.session_date,
        neighbours.session_count,
        neighbours.expected_session_count,
        neighbours.sessions_to_come > 0 as is_partial,
        neighbours.session_count < neighbours.expected_session_count - neighbours.sessions_to_come as has_gap,
        neighbours.open_usd,
        neighbours.high_usd,
        neighbours.low_usd,
        neighbours.close_usd,
        neighbours.volume_shares,
        neighbours.volume_shares / neighbours.session_count as average_volume_shares,
        neighbours.dollar_volume_usd,
        neighbours.dividend_usd,
        neighbours.split_ratio,
        case
            when neighbours.follows_period_before
                then neighbours.close_usd * neighbours.split_factor / neighbours.old_split_level - 1
        end as split_return_ratio,
        case
            when neighbours.follows_period_before
                then neighbours.close_usd * neighbours.total_factor / neighbours.old_total_level - 1
        end as total_return_ratio,
        case
            when neighbours.return_count >= cadences.minimum_returns then neighbours.return_deviation * sqrt(252)
        end as realised_volatility_ratio,
        neighbours.split_factor,
        neighbours.total_factor
    from neighbours
    inner join cadences
        on neighbours.cadence = cadences.cadence

)

select * from measured_periods
