-- One row per sector: how the weekly returns of its stocks are spread since $since. Prices are of the weekly feed, or
-- weeks made of days where that feed has nothing.
with prices as (
    select
        instrument_id,
        instrument_key,
        week_start_date,
        weekly_return_ratio
    from fact_adjusted_prices
    where week_start_date >= $since
    union all
    select
        instrument_id,
        instrument_key,
        week_start_date,
        total_return_ratio as weekly_return_ratio
    from agg_stock_weekly_metrics
    where week_start_date >= $since and (select count(*) from fact_adjusted_prices) = 0
)

select
    coalesce(i.sector, 'Unclassified') as sector,
    count(*) as observation_count,
    count(distinct p.instrument_id) as instrument_count,
    quantile_cont(p.weekly_return_ratio, 0.05) as p05_ratio,
    quantile_cont(p.weekly_return_ratio, 0.25) as p25_ratio,
    quantile_cont(p.weekly_return_ratio, 0.50) as median_ratio,
    quantile_cont(p.weekly_return_ratio, 0.75) as p75_ratio,
    quantile_cont(p.weekly_return_ratio, 0.95) as p95_ratio,
    min(p.weekly_return_ratio) as lowest_ratio,
    max(p.weekly_return_ratio) as highest_ratio,
    avg(p.weekly_return_ratio) filter (where p.week_start_date = $week) as week_average_ratio
from prices as p
inner join dim_instrument as i on p.instrument_key = i.instrument_key
where i.asset_class = 'stock' and p.weekly_return_ratio is not null
group by all
order by median_ratio desc
