-- One row per cadence (day, week) that has prices: the newest session in those of the followed instruments, how far
-- behind the calendar it is at $as_of, and how many instruments are further behind.
with followed as (
    select instrument_id from dim_instrument
    where is_current and is_followed and not is_delisted
),

bars as (
    select
        'day' as cadence,
        instrument_id,
        max(session_date) as session_date,
        null::date as week_start_date
    from fact_daily_price
    where instrument_id in (select f.instrument_id from followed as f)
    group by instrument_id
    union all
    select
        'week' as cadence,
        instrument_id,
        max(session_date) as session_date,
        max(week_start_date) as week_start_date
    from fact_adjusted_prices
    where instrument_id in (select f.instrument_id from followed as f)
    group by instrument_id
),

newest as (
    select
        *,
        max(session_date) over (partition by cadence) as newest_session_date,
        max(week_start_date) over (partition by cadence) as newest_week_date
    from bars
),

closed as (
    select max(calendar_date) as last_closed_date from dim_date
    where is_session and closes_at <= $as_of::timestamptz
)

-- A week in progress is behind when its Monday is; within it, one provider may have a session more than another.
select
    n.cadence,
    n.newest_session_date,
    n.newest_week_date,
    c.last_closed_date,
    count(*) as instrument_count,
    count(*) filter (
        where coalesce(n.week_start_date, n.session_date) < coalesce(n.newest_week_date, n.newest_session_date)
    ) as behind_count,
    (
        select count(*) from dim_date as d
        where d.is_session and d.calendar_date > n.newest_session_date and d.calendar_date <= c.last_closed_date
    ) as sessions_late
from newest as n
cross join closed as c
group by n.cadence, n.newest_session_date, n.newest_week_date, c.last_closed_date
order by n.cadence
