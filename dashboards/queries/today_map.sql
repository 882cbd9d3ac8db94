-- One row per stock with a bar on $day, by sector: the 500 that traded most, of those above $least_usd.
with largest as (
    select
        coalesce(sector, 'Unclassified') as sector,
        symbol,
        name,
        dollar_volume_usd,
        return_ratio,
        close_usd,
        volume_zscore
    from bars
    where bar_date = $day and dollar_volume_usd >= $least_usd and asset_class = 'stock'
    order by dollar_volume_usd desc, symbol asc
    limit 500
)

select
    *,
    avg(return_ratio) over (partition by sector) as sector_return_ratio
from largest
order by sector asc, dollar_volume_usd desc, symbol asc
