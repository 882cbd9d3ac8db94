-- One row: an instrument, and from when to when it has daily bars and weekly bars of the weekly feed. Only a stock
-- has a sector here: some vendors give one to funds.
with daily as (
    select
        count(*) as session_count,
        min(session_date) as first_session_date,
        max(session_date) as newest_session_date
    from fact_daily_price
    where instrument_id = $instrument_id
),

weekly as (
    select
        count(*) as week_count,
        min(week_start_date) as first_week_date,
        max(session_date) as newest_session_date
    from fact_adjusted_prices
    where instrument_id = $instrument_id
)

select
    i.instrument_id,
    i.symbol,
    i.name,
    i.asset_class,
    if(i.asset_class = 'stock', i.sector, null) as sector,
    i.is_delisted,
    i.delisted_date,
    d.session_count,
    d.first_session_date,
    w.week_count,
    w.first_week_date,
    greatest(d.newest_session_date, w.newest_session_date) as newest_session_date
from dim_instrument as i
cross join daily as d
cross join weekly as w
where i.instrument_id = $instrument_id and i.is_current
