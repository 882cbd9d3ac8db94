-- One row per feed that followed instruments are expected in: its newest session, how far behind the calendar that is
-- at $as_of, and how many instruments are further behind. A feed without sessions has the day of its newest fetch only.
with instruments as (
    select
        provider,
        dataset,
        instrument_id,
        max(newest_session_date) as session_date,
        max(newest_fetched_at) as fetched_at,
        bool_or(is_complete) as is_complete
    from mart_coverage
    where is_newest_slice
    group by provider, dataset, instrument_id
),

feeds as (
    select
        provider,
        dataset,
        max(session_date) as newest_session_date,
        max(fetched_at) as newest_fetched_at,
        count(*) as instrument_count,
        count(*) filter (where is_complete) as complete_count
    from instruments
    group by provider, dataset
),

closed as (
    select max(calendar_date) as last_closed_date from dim_date
    where is_session and closes_at <= $as_of::timestamptz
)

select
    f.provider || '/' || f.dataset as feed,
    s.grain,
    f.newest_session_date,
    if(
        f.newest_session_date is null,
        null,
        (
            select count(*) from dim_date as d
            where d.is_session and d.calendar_date > f.newest_session_date and d.calendar_date <= c.last_closed_date
        )
    ) as sessions_late,
    f.instrument_count,
    f.complete_count,
    (
        select count(*) from instruments as i
        where i.provider = f.provider and i.dataset = f.dataset and i.session_date < f.newest_session_date
    ) as behind_count,
    f.newest_fetched_at
from feeds as f
cross join closed as c
left join dim_source as s on f.provider = s.provider and f.dataset = s.dataset
order by f.newest_session_date asc nulls last, feed asc
