-- One row per daily bar up to $day: of the followed instruments when $is_followed, else of the whole market. Returns
-- are adjusted for splits, and for dividends too when $adjustment is total. Volatility is that of 20 sessions.
select
    p.instrument_id,
    i.symbol,
    i.name,
    i.asset_class,
    i.sector,
    i.is_followed,
    p.session_date as bar_date,
    p.session_date,
    p.close_usd,
    if($adjustment = 'total', p.total_return_ratio, p.split_return_ratio) as return_ratio,
    p.return_zscore_252d as return_zscore,
    p.volume_zscore_20d as volume_zscore,
    p.price_zscore_252d as price_zscore,
    p.volatility_20d_ratio as volatility_ratio,
    coalesce(p.dollar_volume_usd, 0) as dollar_volume_usd
from fact_daily_price as p
inner join dim_instrument as i on p.instrument_id = i.instrument_id
where i.is_current and (i.is_followed or not $is_followed) and p.session_date <= $day
