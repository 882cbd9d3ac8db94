-- One row per stock in the week that starts on $week, by sector: the 500 with the highest dollar volume, or with the
-- highest market capitalisation when $area is market_capitalization. Funds are left out, whatever sector a vendor
-- gives them. Prices are of the weekly feed, or weeks made of days where that feed has nothing.
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
        s.market_capitalization,
        p.weekly_return_ratio,
        p.close_usd,
        p.volume_shares,
        p.volume_zscore_52w
    from prices as p
    inner join dim_instrument as i on p.instrument_key = i.instrument_key
    left join dim_stock as s on i.instrument_id = s.instrument_id
    where
        i.asset_class = 'stock'
        and ($area = 'dollar_volume_usd' or s.market_capitalization is not null)
    order by
        if($area = 'dollar_volume_usd', p.dollar_volume_usd, s.market_capitalization) desc nulls last,
        p.symbol asc
    limit 500
)

select * from largest
order by sector asc, dollar_volume_usd desc, symbol asc
