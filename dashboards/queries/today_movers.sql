-- One row per instrument: the 10 that rose most on $day and the 10 that fell most, of those that traded for $least_usd
-- or more; the deepest fall first. The counts are of all of them.
with moved as (
    select
        *,
        count(*) over () as instrument_count,
        count(*) filter (where return_ratio > 0) over () as advancing_count,
        count(*) filter (where return_ratio < 0) over () as declining_count,
        row_number() over (order by return_ratio desc, symbol asc, instrument_id asc) as rise_number,
        row_number() over (order by return_ratio asc, symbol asc, instrument_id asc) as fall_number
    from bars
    where bar_date = $day and dollar_volume_usd >= $least_usd and return_ratio is not null
)

select
    symbol,
    name,
    sector,
    asset_class,
    close_usd,
    return_ratio,
    return_zscore,
    volume_zscore,
    dollar_volume_usd,
    instrument_count,
    advancing_count,
    declining_count
from moved
where (rise_number <= 10 and return_ratio > 0) or (fall_number <= 10 and return_ratio < 0)
order by return_ratio asc, symbol asc
