-- One row per window: how this instrument's realised volatility over that many weeks of the weekly feed has been
-- spread, and where it is now. Sample deviation of simple weekly returns on adjusted closes, annualised by sqrt(52);
-- full windows only.
with deviations as (
    select
        week_start_date,
        stddev_samp(weekly_return_ratio) over (order by week_start_date rows between 3 preceding and current row) as w4,
        stddev_samp(weekly_return_ratio)
            over (order by week_start_date rows between 12 preceding and current row)
            as w13,
        stddev_samp(weekly_return_ratio)
            over (order by week_start_date rows between 25 preceding and current row)
            as w26,
        stddev_samp(weekly_return_ratio)
            over (order by week_start_date rows between 51 preceding and current row)
            as w52,
        row_number() over (order by week_start_date) as nth
    from fact_adjusted_prices
    where instrument_id = $instrument_id and weekly_return_ratio is not null
),

windows as (
    select
        week_start_date,
        nth,
        unnest([4, 13, 26, 52]) as window_weeks,
        unnest([w4, w13, w26, w52]) * sqrt(52) as volatility
    from deviations
)

select
    window_weeks,
    window_weeks || ' weeks' as window_name,
    count(*) as observation_count,
    min(volatility) as lowest_ratio,
    quantile_cont(volatility, 0.10) as p10_ratio,
    quantile_cont(volatility, 0.25) as p25_ratio,
    quantile_cont(volatility, 0.50) as median_ratio,
    quantile_cont(volatility, 0.75) as p75_ratio,
    quantile_cont(volatility, 0.90) as p90_ratio,
    max(volatility) as highest_ratio,
    arg_max(volatility, week_start_date) as current_ratio,
    avg((volatility <= (
        select arg_max(o.volatility, o.week_start_date) from windows as o
        where o.window_weeks = windows.window_weeks and o.nth >= o.window_weeks
    ))::integer) as current_rank_ratio
from windows
where nth >= window_weeks
group by window_weeks
order by window_weeks
