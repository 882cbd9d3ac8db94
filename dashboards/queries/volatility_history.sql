-- One row per week: an instrument's 52-week volatility beside the averages of its sector's and all stocks.
with averages as (
    select
        f.week_start_date,
        avg(f.volatility_52w_ratio) as universe_ratio,
        avg(f.volatility_52w_ratio) filter (where i.sector = $sector) as sector_ratio
    from fact_adjusted_prices as f
    inner join dim_instrument as i on f.instrument_key = i.instrument_key
    where i.asset_class = 'stock'
    group by f.week_start_date
)

select
    f.week_start_date,
    f.volatility_52w_ratio,
    a.sector_ratio,
    a.universe_ratio
from fact_adjusted_prices as f
left join averages as a on f.week_start_date = a.week_start_date
where
    f.instrument_id = $instrument_id
    and f.week_start_date between $since and $until
    and f.volatility_52w_ratio is not null
order by f.week_start_date
