-- One row per session: an instrument's 252-day volatility beside the averages of its sector's and all followed stocks.
with followed as (
    select
        instrument_id,
        sector
    from dim_instrument
    where is_current and is_followed and asset_class = 'stock'
),

averages as (
    select
        p.session_date,
        avg(p.volatility_252d_ratio) as universe_ratio,
        avg(p.volatility_252d_ratio) filter (where f.sector = $sector) as sector_ratio
    from fact_daily_price as p
    inner join followed as f on p.instrument_id = f.instrument_id
    where p.session_date >= $since
    group by p.session_date
)

select
    p.session_date,
    p.volatility_20d_ratio,
    p.volatility_60d_ratio,
    p.volatility_252d_ratio,
    a.sector_ratio,
    a.universe_ratio
from fact_daily_price as p
left join averages as a on p.session_date = a.session_date
where
    p.instrument_id = $instrument_id
    and p.session_date between $since and $until
    and p.volatility_252d_ratio is not null
order by p.session_date
