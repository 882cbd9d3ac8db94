-- One row per instrument from $zoom_since to $zoom_until: what it earned, how much it moved a year ($bars_a_year
-- bars) and its deepest fall from a high before, the highest return first.
with returns as (
    select
        instrument_id,
        bar_date,
        level_usd,
        ln(level_usd / lag(level_usd) over in_time) as log_return,
        level_usd / max(level_usd) over in_time - 1 as drawdown_ratio
    from bars
    where bar_date between $zoom_since and $zoom_until
    window in_time as (partition by instrument_id order by bar_date)
)

select
    any_value(i.symbol) as symbol,
    any_value(i.name) as name,
    any_value(i.sector) as sector,
    arg_max(r.level_usd, r.bar_date) / arg_min(r.level_usd, r.bar_date) - 1 as return_ratio,
    if(count(r.log_return) >= 10, stddev_samp(r.log_return) * sqrt($bars_a_year), null) as volatility_ratio,
    min(r.drawdown_ratio) as deepest_fall_ratio,
    exp(min(r.log_return)) - 1 as worst_return_ratio,
    exp(max(r.log_return)) - 1 as best_return_ratio,
    min(r.bar_date) as first_date,
    max(r.bar_date) as last_date,
    count(*) as bar_count,
    r.instrument_id
from returns as r
inner join dim_instrument as i on r.instrument_id = i.instrument_id
where i.is_current
group by r.instrument_id
order by return_ratio desc nulls last, symbol asc
