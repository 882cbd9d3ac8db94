-- One row per window: how this instrument's realised volatility over that many sessions has been spread, and where it
-- is now. Sample deviation of daily log total returns, annualised by sqrt(252); full windows only.
with deviations as (
    select
        session_date,
        stddev_samp(log_return) over (order by session_date rows between 19 preceding and current row) as d20,
        stddev_samp(log_return) over (order by session_date rows between 59 preceding and current row) as d60,
        stddev_samp(log_return) over (order by session_date rows between 119 preceding and current row) as d120,
        stddev_samp(log_return) over (order by session_date rows between 251 preceding and current row) as d252,
        row_number() over (order by session_date) as nth
    from fact_daily_price
    where instrument_id = $instrument_id and log_return is not null
),

windows as (
    select
        session_date,
        nth,
        unnest([20, 60, 120, 252]) as window_sessions,
        unnest([d20, d60, d120, d252]) * sqrt(252) as volatility
    from deviations
),

full_windows as (
    select
        *,
        arg_max(volatility, session_date) over (partition by window_sessions) as current_volatility
    from windows
    where nth >= window_sessions
)

select
    window_sessions,
    window_sessions || ' days' as window_name,
    count(*) as observation_count,
    min(volatility) as lowest_ratio,
    quantile_cont(volatility, 0.10) as p10_ratio,
    quantile_cont(volatility, 0.25) as p25_ratio,
    quantile_cont(volatility, 0.50) as median_ratio,
    quantile_cont(volatility, 0.75) as p75_ratio,
    quantile_cont(volatility, 0.90) as p90_ratio,
    max(volatility) as highest_ratio,
    max(current_volatility) as current_ratio,
    avg((volatility <= current_volatility)::integer) as current_rank_ratio
from full_windows
group by window_sessions
order by window_sessions
