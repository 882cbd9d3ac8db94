with

weekly_prices as (

    select * from {{ ref('fact_adjusted_prices') }}

),

daily_weeks as (

    select * from {{ ref('agg_stock_weekly_metrics') }}

),

instruments as (

    select * from {{ ref('dim_instrument') }}

),

weekly_bars as (

    select count(*) as weekly_bar_count from weekly_prices

),

-- One source for the whole table, so that no sector compares two: weekly bars where there are any, else weeks made of
-- daily ones.
prices as (

    select
        instrument_key,
        symbol,
        week_start_date,
        weekly_return_ratio,
        dollar_volume_usd,
        volume_shares,
        volatility_52w_ratio,
        is_partial_week,
        'fact_adjusted_prices' as price_source
    from weekly_prices
    union all
    select
        daily_weeks.instrument_key,
        daily_weeks.symbol,
        daily_weeks.week_start_date,
        daily_weeks.total_return_ratio as weekly_return_ratio,
        daily_weeks.dollar_volume_usd,
        daily_weeks.volume_shares,
        daily_weeks.volatility_52w_ratio,
        daily_weeks.is_partial_week,
        'agg_stock_weekly_metrics' as price_source
    from daily_weeks
    cross join weekly_bars
    where weekly_bars.weekly_bar_count = 0

),

-- Funds and indexes belong to no sector; a share whose sector is not known is counted, under a name that says so.
members as (

    select
        prices.*,
        coalesce(instruments.sector, 'Unclassified') as sector
    from prices
    inner join instruments
        on prices.instrument_key = instruments.instrument_key
    where instruments.sector is not null or instruments.asset_class = 'stock'

),

ranked_members as (

    select
        *,
        -- Equal returns are told apart by symbol, so that every build names the same one.
        row_number() over (
            partition by sector, week_start_date order by weekly_return_ratio desc nulls last, symbol asc
        ) as best_number,
        row_number() over (
            partition by sector, week_start_date order by weekly_return_ratio asc nulls last, symbol asc
        ) as worst_number
    from members

),

sectors as (

    select
        sector,
        week_start_date,
        count(*) as instrument_count,
        avg(weekly_return_ratio) as average_return_ratio,
        median(weekly_return_ratio) as median_return_ratio,
        sum(dollar_volume_usd) as dollar_volume_usd,
        cast(sum(volume_shares) as bigint) as volume_shares,
        avg(volatility_52w_ratio) as average_volatility_52w_ratio,
        count(case when weekly_return_ratio > 0 then 1 end) as advancing_count,
        count(case when weekly_return_ratio < 0 then 1 end) as declining_count,
        max(case when best_number = 1 and weekly_return_ratio is not null then symbol end) as best_symbol,
        max(case when worst_number = 1 and weekly_return_ratio is not null then symbol end) as worst_symbol,
        bool_or(is_partial_week) as is_partial_week,
        max(price_source) as price_source
    from ranked_members
    group by sector, week_start_date

),

shares as (

    select
        {{ surrogate_key(['sector', 'week_start_date']) }} as sector_week_key,
        sector,
        week_start_date,
        instrument_count,
        average_return_ratio,
        median_return_ratio,
        dollar_volume_usd,
        dollar_volume_usd
        / nullif(sum(dollar_volume_usd) over (partition by week_start_date), 0) as dollar_volume_share_ratio,
        volume_shares,
        average_volatility_52w_ratio,
        advancing_count,
        declining_count,
        best_symbol,
        worst_symbol,
        is_partial_week,
        price_source
    from sectors

)

select * from shares
