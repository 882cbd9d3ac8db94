-- One row per instrument that has prices. A delisted one gives its symbol up when another instrument bears it today.
with priced as (
    select
        instrument_id,
        min(week_start_date) as first_week_date,
        max(session_date) as newest_session_date
    from fact_adjusted_prices
    group by instrument_id
)

select
    i.instrument_id,
    if(i.is_delisted and count(*) over (partition by i.symbol) > 1, i.symbol || ' (delisted)', i.symbol) as label,
    i.symbol,
    i.name,
    i.asset_class,
    i.sector,
    i.is_delisted,
    i.delisted_date,
    p.first_week_date,
    p.newest_session_date
from dim_instrument as i
inner join priced as p on i.instrument_id = p.instrument_id
where i.is_current
order by i.is_delisted, label
