-- One row per listed instrument that is followed: its newest week, and its volatility 13 weeks before. Of the weekly
-- feed, or weeks made of days, with the 252-session high and low, where that feed has nothing.
with followed as (
    select instrument_id from dim_instrument
    where is_current and is_followed
),

prices as (
    select
        instrument_id,
        week_start_date,
        session_date,
        volatility_52w_ratio,
        weekly_return_ratio,
        return_zscore_52w,
        volume_zscore_52w,
        price_zscore_52w,
        distance_to_high_52w_ratio,
        distance_to_low_52w_ratio
    from fact_adjusted_prices
    union all
    select
        w.instrument_id,
        w.week_start_date,
        w.session_date,
        w.volatility_52w_ratio,
        w.total_return_ratio as weekly_return_ratio,
        w.return_zscore_52w,
        w.volume_zscore_52w,
        d.price_zscore_252d as price_zscore_52w,
        d.close_usd * d.split_factor / d.high_252d_anchored_usd - 1 as distance_to_high_52w_ratio,
        d.close_usd * d.split_factor / d.low_252d_anchored_usd - 1 as distance_to_low_52w_ratio
    from agg_stock_weekly_metrics as w
    inner join followed as f on w.instrument_id = f.instrument_id
    inner join fact_daily_price as d on f.instrument_id = d.instrument_id and w.session_date = d.session_date
    where (select count(*) from fact_adjusted_prices) = 0
),

numbered as (
    select
        *,
        lag(volatility_52w_ratio, 13) over in_time as volatility_13w_before_ratio,
        row_number() over (partition by instrument_id order by week_start_date desc) as nth
    from prices
    window in_time as (partition by instrument_id order by week_start_date)
)

select
    i.symbol,
    i.name,
    i.asset_class,
    coalesce(i.sector, if(i.asset_class = 'etf', 'Fund', 'Unclassified')) as sector,
    n.session_date,
    n.volatility_52w_ratio,
    n.volatility_13w_before_ratio,
    n.volatility_52w_ratio - n.volatility_13w_before_ratio as volatility_change_ratio,
    n.weekly_return_ratio,
    n.return_zscore_52w,
    n.volume_zscore_52w,
    n.price_zscore_52w,
    n.distance_to_high_52w_ratio,
    n.distance_to_low_52w_ratio
from numbered as n
inner join dim_instrument as i on n.instrument_id = i.instrument_id
where n.nth = 1 and i.is_current and not i.is_delisted
order by n.volatility_52w_ratio desc nulls last, i.symbol asc
