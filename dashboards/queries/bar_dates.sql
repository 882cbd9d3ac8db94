-- One row per session that has daily bars, newest first; where gold has no daily bar, per week of the weekly feed. The
-- newest 260.
with bars as (
    select
        'day' as cadence,
        session_date as bar_date,
        session_date,
        count(*) as instrument_count
    from fact_daily_price
    group by session_date
    union all
    select
        'week' as cadence,
        week_start_date as bar_date,
        max(session_date) as session_date,
        count(*) as instrument_count
    from fact_adjusted_prices
    where (select count(*) from fact_daily_price) = 0
    group by week_start_date
)

select * from bars
order by bar_date desc
limit 260
