-- One row per week that has prices, newest first: of the weekly feed, or made of days where that feed has nothing.
with prices as (
    select
        week_start_date,
        session_date,
        is_partial_week
    from fact_adjusted_prices
    union all
    select
        week_start_date,
        session_date,
        is_partial_week
    from agg_stock_weekly_metrics
    where (select count(*) from fact_adjusted_prices) = 0
)

select
    week_start_date,
    max(session_date) as session_date,
    bool_or(is_partial_week) as is_partial_week
from prices
group by week_start_date
order by week_start_date desc
limit 260
