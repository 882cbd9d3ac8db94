-- The instruments that the sectors count in a week are those with a bar that are shares or have a sector.
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

sectors as (

    select * from {{ ref('agg_sector_performance') }}

),

weekly_bars as (

    select count(*) as weekly_bar_count from weekly_prices

),

prices as (

    select
        instrument_key,
        week_start_date
    from weekly_prices
    union all
    select
        daily_weeks.instrument_key,
        daily_weeks.week_start_date
    from daily_weeks
    cross join weekly_bars
    where weekly_bars.weekly_bar_count = 0

),

expected_counts as (

    select
        prices.week_start_date,
        count(*) as expected_count
    from prices
    inner join instruments
        on prices.instrument_key = instruments.instrument_key
    where instruments.asset_class = 'stock' or instruments.sector is not null
    group by prices.week_start_date

),

counted as (

    select
        week_start_date,
        sum(instrument_count) as counted
    from sectors
    group by week_start_date

),

differences as (

    select
        coalesce(expected_counts.week_start_date, counted.week_start_date) as week_start_date,
        expected_counts.expected_count,
        counted.counted
    from expected_counts
    full outer join counted
        on expected_counts.week_start_date = counted.week_start_date
    where expected_counts.expected_count is distinct from counted.counted

)

select * from differences
