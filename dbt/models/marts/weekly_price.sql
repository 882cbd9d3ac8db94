{{ config(materialized='view') }}
with

weeks as (

    select * from {{ ref('agg_stock_weekly_metrics') }}

),

anchors as (

    select * from {{ ref('dim_price_anchor') }}

),

-- Levels are anchored at the newest bar, so each new split or dividend moves all of them: no table holds them.
levels as (

    select
        weeks.week_key,
        weeks.instrument_key,
        weeks.date_key,
        weeks.instrument_id,
        weeks.symbol,
        weeks.week_start_date,
        weeks.first_session_date,
        weeks.session_date,
        weeks.session_count,
        weeks.expected_session_count,
        weeks.is_partial_week,
        weeks.has_gap,
        weeks.open_usd,
        weeks.high_usd,
        weeks.low_usd,
        weeks.close_usd,
        weeks.volume_shares,
        weeks.open_usd * (weeks.split_factor / anchors.split_factor) as split_adjusted_open_usd,
        weeks.high_usd * (weeks.split_factor / anchors.split_factor) as split_adjusted_high_usd,
        weeks.low_usd * (weeks.split_factor / anchors.split_factor) as split_adjusted_low_usd,
        weeks.close_usd * (weeks.split_factor / anchors.split_factor) as split_adjusted_close_usd,
        weeks.volume_shares * (anchors.split_factor / weeks.split_factor) as split_adjusted_volume_shares,
        weeks.close_usd * (weeks.total_factor / anchors.total_factor) as total_return_close_usd,
        weeks.dollar_volume_usd,
        weeks.dividend_usd,
        weeks.split_ratio,
        weeks.split_return_ratio,
        weeks.total_return_ratio,
        weeks.realised_volatility_ratio,
        weeks.volatility_52w_ratio,
        weeks.return_zscore_52w,
        weeks.volume_zscore_52w
    from weeks
    inner join anchors
        on weeks.instrument_id = anchors.instrument_id

)

select * from levels
