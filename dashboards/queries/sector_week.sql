-- One row per sector in the week that starts on $week, best average return last.
select
    coalesce(sector, 'Unclassified') as sector,
    instrument_count,
    average_return_ratio,
    median_return_ratio,
    advancing_count,
    declining_count,
    best_symbol,
    worst_symbol,
    dollar_volume_usd,
    dollar_volume_share_ratio,
    average_volatility_52w_ratio
from agg_sector_performance
where week_start_date = $week
order by average_return_ratio nulls first
