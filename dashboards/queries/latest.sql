-- One row per listed instrument: its newest week, and its volatility 13 weeks before.
with numbered as (
    select
        f.*,
        lag(f.volatility_52w_ratio, 13) over (partition by f.instrument_id order by f.week_start_date)
            as volatility_13w_before_ratio,
        row_number() over (partition by f.instrument_id order by f.week_start_date desc) as nth
    from fact_adjusted_prices as f
)

select
    n.symbol,
    i.name,
    i.asset_class,
    coalesce(i.sector, if(i.asset_class = 'etf', 'Fund', 'Unclassified')) as sector,
    n.session_date,
    n.volatility_52w_ratio,
    n.volatility_13w_before_ratio,
    n.volatility_52w_ratio - n.volatility_13w_before_ratio as volatility_change_ratio,
    n.volatility_to_sector_ratio,
    n.volatility_to_universe_ratio,
    n.weekly_return_ratio,
    n.return_zscore_52w,
    n.volume_zscore_52w,
    n.price_zscore_52w,
    n.distance_to_high_52w_ratio,
    n.distance_to_low_52w_ratio
from numbered as n
inner join dim_instrument as i on n.instrument_id = i.instrument_id
where n.nth = 1 and i.is_current and not i.is_delisted
order by n.volatility_52w_ratio desc nulls last, n.symbol asc
