-- One row per peer of an instrument: the other followed stocks of its sector that are listed; for one without a sector,
-- all followed stocks. The first 60 by symbol.
with subject as (
    select
        instrument_id,
        if(asset_class = 'stock', sector, null) as sector
    from dim_instrument
    where is_current and instrument_id = $instrument_id
)

select
    i.instrument_id,
    i.symbol,
    i.sector
from dim_instrument as i
cross join subject as s
where
    i.is_current
    and i.is_followed
    and not i.is_delisted
    and i.asset_class = 'stock'
    and i.instrument_id <> s.instrument_id
    and (s.sector is null or i.sector = s.sector)
order by i.symbol, i.instrument_id
limit 60
