-- One row per instrument to offer: all followed ones by symbol, then the 200 that traded most on the newest session.
-- Any other is found by its spelling. A delisted one gives its symbol up when another instrument bears it today.
with traded as (
    select
        instrument_id,
        dollar_volume_usd
    from fact_daily_price
    where session_date = (select max(p.session_date) from fact_daily_price as p)
    order by dollar_volume_usd desc nulls last, instrument_id asc
    limit 200
),

offered as (
    select
        i.instrument_id,
        i.symbol,
        i.name,
        i.is_delisted,
        i.delisted_date,
        i.is_followed,
        t.dollar_volume_usd,
        count(*) over (partition by i.symbol) as bearer_count
    from dim_instrument as i
    left join traded as t on i.instrument_id = t.instrument_id
    left join dim_price_anchor as a on i.instrument_id = a.instrument_id
    where i.is_current and i.instrument_id <> 'unknown'
    -- An index is followed by name, and most feeds have no bar of it.
    qualify
        t.instrument_id is not null
        or (i.is_followed and (i.asset_class <> 'index' or a.instrument_id is not null))
)

select
    instrument_id,
    if(
        is_delisted and bearer_count > 1,
        symbol || ' (delisted ' || coalesce(delisted_date::varchar, left(instrument_id, 6)) || ')',
        symbol
    ) as label,
    symbol,
    name,
    is_followed
from offered
order by is_followed desc, is_delisted asc, if(is_followed, 0, dollar_volume_usd) desc nulls last, label asc
