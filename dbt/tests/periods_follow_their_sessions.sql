-- Weeks and months say what their sessions say: each session counts once, extremes and sums are those of the sessions
-- in the basis of the last one, and returns are the daily ones compounded. The rows that come back name what is broken.
with

prices as (

    select * from {{ ref('fact_daily_price') }}

),

same_prices as (

    select * from {{ ref('fact_daily_price') }}

),

weeks as (

    select * from {{ ref('agg_stock_weekly_metrics') }}

),

months as (

    select * from {{ ref('agg_stock_monthly_metrics') }}

),

periods as (

    select
        'week' as cadence,
        week_start_date as period_start_date,
        instrument_id,
        session_date,
        session_count,
        open_usd,
        high_usd,
        low_usd,
        close_usd,
        volume_shares,
        dollar_volume_usd,
        total_return_ratio,
        split_factor
    from weeks
    union all
    select
        'month' as cadence,
        month_start_date as period_start_date,
        instrument_id,
        session_date,
        session_count,
        open_usd,
        high_usd,
        low_usd,
        close_usd,
        volume_shares,
        dollar_volume_usd,
        total_return_ratio,
        split_factor
    from months

),

summed_sessions as (

    select
        'week' as cadence,
        {{ week_start('session_date') }} as period_start_date,
        instrument_id,
        max(session_date) as session_date,
        count(*) as session_count,
        min_by(open_usd * split_factor, session_date) as open_level,
        max(high_usd * split_factor) as high_level,
        min(low_usd * split_factor) as low_level,
        max_by(close_usd * split_factor, session_date) as close_level,
        sum(volume_shares / split_factor) as volume_level,
        sum(dollar_volume_usd) as dollar_volume_usd,
        count(log_return) as return_count,
        sum(log_return) as log_return
    from prices
    group by {{ week_start('session_date') }}, instrument_id
    union all
    select
        'month' as cadence,
        cast(date_trunc('month', session_date) as date) as period_start_date,
        instrument_id,
        max(session_date) as session_date,
        count(*) as session_count,
        min_by(open_usd * split_factor, session_date) as open_level,
        max(high_usd * split_factor) as high_level,
        min(low_usd * split_factor) as low_level,
        max_by(close_usd * split_factor, session_date) as close_level,
        sum(volume_shares / split_factor) as volume_level,
        sum(dollar_volume_usd) as dollar_volume_usd,
        count(log_return) as return_count,
        sum(log_return) as log_return
    from same_prices
    group by cast(date_trunc('month', session_date) as date), instrument_id

),

compared_periods as (

    select
        coalesce(periods.cadence, summed_sessions.cadence) as cadence,
        coalesce(periods.period_start_date, summed_sessions.period_start_date) as period_start_date,
        coalesce(periods.instrument_id, summed_sessions.instrument_id) as instrument_id,
        case
            when periods.instrument_id is null or summed_sessions.instrument_id is null then 'period'
            when
                periods.session_date <> summed_sessions.session_date
                or periods.session_count <> summed_sessions.session_count
                then 'sessions'
            when abs(periods.open_usd * periods.split_factor / summed_sessions.open_level - 1) > 1e-9 then 'open'
            when abs(periods.high_usd * periods.split_factor / summed_sessions.high_level - 1) > 1e-9 then 'high'
            when abs(periods.low_usd * periods.split_factor / summed_sessions.low_level - 1) > 1e-9 then 'low'
            when abs(periods.close_usd * periods.split_factor / summed_sessions.close_level - 1) > 1e-9 then 'close'
            when
                abs(periods.volume_shares / periods.split_factor - summed_sessions.volume_level)
                > 1e-9 * summed_sessions.volume_level
                then 'volume'
            when
                abs(periods.dollar_volume_usd - summed_sessions.dollar_volume_usd)
                > 1e-9 * summed_sessions.dollar_volume_usd
                then 'dollar volume'
            when
                summed_sessions.return_count = summed_sessions.session_count
                and abs(periods.total_return_ratio - (exp(summed_sessions.log_return) - 1))
                > 1e-9 * exp(summed_sessions.log_return)
                then 'return'
        end as problem
    from periods
    full outer join summed_sessions
        on
            periods.cadence = summed_sessions.cadence
            and periods.period_start_date = summed_sessions.period_start_date
            and periods.instrument_id = summed_sessions.instrument_id

),

problems as (

    select * from compared_periods
    where problem is not null

)

select * from problems
