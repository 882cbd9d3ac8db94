-- One row: the newest session in the prices, how far behind the calendar it is at $as_of, and who is further behind.
with newest as (
    select
        f.instrument_id,
        max(f.session_date) as session_date,
        max(f.week_start_date) as week_start_date
    from fact_adjusted_prices as f
    inner join dim_instrument as i on f.instrument_id = i.instrument_id
    where i.is_current and not i.is_delisted
    group by f.instrument_id
),

edge as (
    select
        max(session_date) as newest_session_date,
        max(week_start_date) as newest_week_date
    from newest
),

closed as (
    select max(calendar_date) as last_closed_date from dim_date
    where is_session and closes_at <= $as_of::timestamptz
)

select
    e.newest_session_date,
    e.newest_week_date,
    c.last_closed_date,
    (select count(*) from newest) as instrument_count,
    (
        select count(*) from newest
        where week_start_date < e.newest_week_date
    ) as behind_count,
    (
        select count(*) from dim_date as d
        where d.is_session and d.calendar_date > e.newest_session_date and d.calendar_date <= c.last_closed_date
    ) as sessions_late
from edge as e
cross join closed as c
