-- One row per week of the weekly feed up to the one that starts on $day, as market_days.sql. The feed's returns are
-- total returns; volatility is that of 52 weeks.
select
    p.instrument_id,
    i.symbol,
    i.name,
    i.asset_class,
    i.sector,
    i.is_followed,
    p.week_start_date as bar_date,
    p.session_date,
    p.close_usd,
    p.weekly_return_ratio as return_ratio,
    p.return_zscore_52w as return_zscore,
    p.volume_zscore_52w as volume_zscore,
    p.price_zscore_52w as price_zscore,
    p.volatility_52w_ratio as volatility_ratio,
    coalesce(p.dollar_volume_usd, 0) as dollar_volume_usd
from fact_adjusted_prices as p
inner join dim_instrument as i on p.instrument_id = i.instrument_id
where i.is_current and (i.is_followed or not $is_followed) and p.week_start_date <= $day
