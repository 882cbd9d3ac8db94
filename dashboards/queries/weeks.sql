-- One row per week that has prices, newest first.
select
    week_start_date,
    max(session_date) as session_date,
    bool_or(is_partial_week) as is_partial_week
from fact_adjusted_prices
group by week_start_date
order by week_start_date desc
limit 260
