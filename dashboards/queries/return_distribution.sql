-- One row per sector: how the weekly returns of its stocks are spread since $since.
select
    coalesce(i.sector, 'Unclassified') as sector,
    count(*) as observation_count,
    count(distinct f.instrument_id) as instrument_count,
    quantile_cont(f.weekly_return_ratio, 0.05) as p05_ratio,
    quantile_cont(f.weekly_return_ratio, 0.25) as p25_ratio,
    quantile_cont(f.weekly_return_ratio, 0.50) as median_ratio,
    quantile_cont(f.weekly_return_ratio, 0.75) as p75_ratio,
    quantile_cont(f.weekly_return_ratio, 0.95) as p95_ratio,
    min(f.weekly_return_ratio) as lowest_ratio,
    max(f.weekly_return_ratio) as highest_ratio,
    avg(f.weekly_return_ratio) filter (where f.week_start_date = $week) as week_average_ratio
from fact_adjusted_prices as f
inner join dim_instrument as i on f.instrument_key = i.instrument_key
where
    f.week_start_date >= $since
    and (i.sector is not null or i.asset_class = 'stock')
    and f.weekly_return_ratio is not null
group by all
order by median_ratio desc
