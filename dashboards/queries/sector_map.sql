-- One row per stock in the week that starts on $week, by sector: the 500 with the highest dollar volume. Funds have no
-- sector and are left out. Prices are of the weekly feed, or weeks made of days where that feed has nothing.
with prices as (
    select
        instrument_key,
        symbol,
        dollar_volume_usd,
        weekly_return_ratio,
        close_usd,
        volume_shares,
        volume_zscore_52w
    from fact_adjusted_prices
    where week_start_date = $week
    union all
    select
        instrument_key,
        symbol,
        dollar_volume_usd,
        total_return_ratio as weekly_return_ratio,
        close_usd,
        volume_shares,
        volume_zscore_52w
    from agg_stock_weekly_metrics
    where week_start_date = $week and (select count(*) from fact_adjusted_prices) = 0
),

largest as (
    select
        coalesce(i.sector, 'Unclassified') as sector,
        p.symbol,
        i.name,
        p.dollar_volume_usd,
        p.weekly_return_ratio,
        p.close_usd,
        p.volume_shares,
        p.volume_zscore_52w
    from prices as p
    inner join dim_instrument as i on p.instrument_key = i.instrument_key
    where i.sector is not null or i.asset_class = 'stock'
    order by p.dollar_volume_usd desc nulls last, p.symbol asc
    limit 500
)

select * from largest
order by sector asc, dollar_volume_usd desc
