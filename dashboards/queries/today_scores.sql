-- One row per instrument of $day that traded for $least_usd or more, the furthest from its own usual first: the 300
-- with the largest z-score of return, volume or price. Unusual is beyond two deviations in any of them.
with scored as (
    select
        *,
        greatest(abs(return_zscore), abs(volume_zscore), abs(price_zscore)) as reach
    from bars
    where
        bar_date = $day
        and dollar_volume_usd >= $least_usd
        and return_zscore is not null
        and volume_zscore is not null
)

select
    symbol,
    name,
    sector,
    asset_class,
    return_ratio,
    return_zscore,
    volume_zscore,
    price_zscore,
    reach > 2 as is_unusual,
    dollar_volume_usd,
    count(*) over () as scored_count,
    count(*) filter (where reach > 2) over () as unusual_count
from scored
order by reach desc, symbol asc
limit 300
