-- One row per tile of $day: the funds and indexes that traded most, then the mean of the stocks, each with the same
-- weight every day. `path` begins at 100 before the first of the newest 60 bar dates; `behind_count` are instruments
-- that are listed and have no bar on $day.
with recent as (
    select distinct bar_date from bars
    order by bar_date desc
    limit 60
),

benchmarks as (
    select
        instrument_id,
        symbol,
        name,
        asset_class,
        row_number() over (order by dollar_volume_usd desc, symbol asc) as nth
    from bars
    where bar_date = $day and asset_class in ('etf', 'fund', 'index') and return_ratio is not null
    qualify nth <= 5
),

steps as (
    select
        m.nth,
        m.symbol,
        m.name,
        m.asset_class,
        b.bar_date,
        b.close_usd,
        b.return_ratio,
        1 as instrument_count,
        (b.return_ratio > 0)::bigint as advancing_count,
        (b.return_ratio < 0)::bigint as declining_count
    from bars as b
    inner join benchmarks as m on b.instrument_id = m.instrument_id
    inner join recent as r on b.bar_date = r.bar_date
    union all
    select
        99 as nth,
        'Stocks' as symbol,
        'Mean of the followed stocks' as name,
        'mean' as asset_class,
        b.bar_date,
        null as close_usd,
        avg(b.return_ratio) as return_ratio,
        count(b.return_ratio) as instrument_count,
        count(*) filter (where b.return_ratio > 0) as advancing_count,
        count(*) filter (where b.return_ratio < 0) as declining_count
    from bars as b
    inner join recent as r on b.bar_date = r.bar_date
    where b.asset_class = 'stock'
    group by b.bar_date
),

paths as (
    select
        *,
        100 * exp(sum(ln(1 + coalesce(return_ratio, 0))) over (partition by nth order by bar_date)) as level
    from steps
)

select
    symbol,
    name,
    asset_class,
    max(bar_date) as bar_date,
    arg_max(close_usd, bar_date) as close_usd,
    arg_max(return_ratio, bar_date) as return_ratio,
    max(level) filter (where bar_date = $day) / 100 - 1 as path_return_ratio,
    arg_max(instrument_count, bar_date)::bigint as instrument_count,
    arg_max(advancing_count, bar_date)::bigint as advancing_count,
    arg_max(declining_count, bar_date)::bigint as declining_count,
    list(round(level, 3) order by bar_date) as path,
    list(bar_date order by bar_date) as path_dates
from paths
group by nth, symbol, name, asset_class
having max(bar_date) = $day
order by nth
