-- One row per stock in the week that starts on $week, by sector; funds have no sector and are left out.
select
    coalesce(i.sector, 'Unclassified') as sector,
    f.symbol,
    i.name,
    f.dollar_volume_usd,
    f.weekly_return_ratio,
    f.close_usd,
    f.volume_shares,
    f.volume_zscore_52w
from fact_adjusted_prices as f
inner join dim_instrument as i on f.instrument_key = i.instrument_key
where f.week_start_date = $week and (i.sector is not null or i.asset_class = 'stock')
order by sector asc, f.dollar_volume_usd desc
