-- One row per instrument: its volatility on $day beside the lowest and the highest of its own year before, of those
-- with $least_count values in it and $least_usd traded; the furthest above the highest first, 20 of them. The count
-- is of all that are above.
with year_before as (
    select
        instrument_id,
        count(volatility_ratio) as value_count,
        min(volatility_ratio) as lowest_ratio,
        max(volatility_ratio) as highest_ratio
    from bars
    where bar_date < $day and bar_date >= $day::date - 364
    group by instrument_id
),

compared as (
    select
        b.symbol,
        b.name,
        b.sector,
        b.return_ratio,
        b.volatility_ratio,
        y.highest_ratio,
        y.lowest_ratio,
        y.value_count,
        b.volatility_ratio / y.highest_ratio - 1 as above_highest_ratio,
        b.volatility_ratio > y.highest_ratio as is_breakout
    from bars as b
    inner join year_before as y on b.instrument_id = y.instrument_id
    where
        b.bar_date = $day
        and b.dollar_volume_usd >= $least_usd
        and b.volatility_ratio is not null
        and y.value_count >= $least_count
        and y.highest_ratio > 0
)

select
    *,
    count(*) over () as compared_count,
    count(*) filter (where is_breakout) over () as breakout_count
from compared
order by above_highest_ratio desc, symbol asc
limit 20
