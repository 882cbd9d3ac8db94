-- One row: how many sessions of the $interval (week or month) of $session_date come after the newest one that gold has
-- of any instrument, or that it had by $known_at when it is given.
with seen as (
    select session_date from fact_daily_price_version
    where $known_at::timestamptz is null or known_from <= $known_at::timestamptz
    union all
    select session_date from fact_price_version
    where $known_at::timestamptz is null or known_from <= $known_at::timestamptz
)

select count(*) as session_count
from dim_date as d
where
    d.is_session
    and date_trunc($interval, d.calendar_date) = date_trunc($interval, $session_date::date)
    and d.calendar_date > (select max(s.session_date) from seen as s)
