-- One row per sector and week: its share of the dollar volume.
select
    week_start_date,
    coalesce(sector, 'Unclassified') as sector,
    dollar_volume_share_ratio,
    dollar_volume_usd
from agg_sector_performance
where week_start_date >= $since
order by week_start_date, sector
