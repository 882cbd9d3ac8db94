-- One row per bar of the instrument $subject from $zoom_since to $zoom_until: its level and that of the mean of the
-- others in `bars`, both 100 on its first day. The mean gives each of them the same weight on every day; one without
-- a bar on a day is left out of it.
with returns as (
    select
        instrument_id,
        bar_date,
        level_usd,
        level_usd / lag(level_usd) over (partition by instrument_id order by bar_date) - 1 as return_ratio
    from bars
),

subject as (
    select
        bar_date,
        100 * level_usd / first_value(level_usd) over (order by bar_date) as level,
        row_number() over (order by bar_date) as nth
    from returns
    where instrument_id = $subject
),

mean_returns as (
    select
        bar_date,
        avg(return_ratio) as return_ratio,
        count(return_ratio) as peer_count
    from returns
    where instrument_id <> $subject
    group by bar_date
),

paths as (
    select
        s.bar_date,
        s.level as subject_level,
        100 * exp(sum(if(s.nth = 1, 0, ln(1 + coalesce(m.return_ratio, 0)))) over (order by s.bar_date)) as peers_level,
        coalesce(m.peer_count, 0) as peer_count,
        first_value(s.bar_date) over (order by s.bar_date) as base_date
    from subject as s
    left join mean_returns as m on s.bar_date = m.bar_date
)

select
    *,
    subject_level / peers_level - 1 as lead_ratio
from paths
where bar_date between $zoom_since and $zoom_until
order by bar_date
