-- One row per bar and instrument from $zoom_since to $zoom_until: its level, 100 on the first day by which all of
-- them have begun. What has no bar on that day begins at 100 with its last bar before.
with starts as (
    select
        instrument_id,
        min(bar_date) as first_date
    from bars
    group by instrument_id
),

common_start as (
    select max(first_date) as base_date from starts
),

bases as (
    select
        b.instrument_id,
        s.base_date,
        arg_max(b.level_usd, b.bar_date) as base_level_usd
    from bars as b
    cross join common_start as s
    where b.bar_date <= s.base_date
    group by b.instrument_id, s.base_date
)

select
    i.symbol,
    b.bar_date,
    100 * b.level_usd / a.base_level_usd as level,
    b.level_usd,
    a.base_date,
    b.instrument_id
from bars as b
inner join bases as a on b.instrument_id = a.instrument_id
inner join dim_instrument as i on b.instrument_id = i.instrument_id
where i.is_current and b.bar_date between $zoom_since and $zoom_until
order by i.symbol, b.instrument_id, b.bar_date
