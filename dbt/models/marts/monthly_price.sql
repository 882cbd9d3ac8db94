{{ config(materialized='view') }}
with

months as (

    select * from {{ ref('agg_stock_monthly_metrics') }}

),

anchors as (

    select * from {{ ref('dim_price_anchor') }}

),

-- Levels are anchored at the newest bar, so each new split or dividend moves all of them: no table holds them.
levels as (

    select
        months.month_key,
        months.instrument_key,
        months.date_key,
        months.instrument_id,
        months.symbol,
        months.month_start_date,
        months.first_session_date,
        months.session_date,
        months.session_count,
        months.expected_session_count,
        months.is_partial_month,
        months.has_gap,
        months.open_usd,
        months.high_usd,
        months.low_usd,
        months.close_usd,
        months.volume_shares,
        months.open_usd * (months.split_factor / anchors.split_factor) as split_adjusted_open_usd,
        months.high_usd * (months.split_factor / anchors.split_factor) as split_adjusted_high_usd,
        months.low_usd * (months.split_factor / anchors.split_factor) as split_adjusted_low_usd,
        months.close_usd * (months.split_factor / anchors.split_factor) as split_adjusted_close_usd,
        months.volume_shares * (anchors.split_factor / months.split_factor) as split_adjusted_volume_shares,
        months.close_usd * (months.total_factor / anchors.total_factor) as total_return_close_usd,
        months.dollar_volume_usd,
        months.dividend_usd,
        months.split_ratio,
        months.split_return_ratio,
        months.total_return_ratio,
        months.realised_volatility_ratio,
        months.volatility_36m_ratio,
        months.return_zscore_36m,
        months.volume_zscore_36m
    from months
    inner join anchors
        on months.instrument_id = anchors.instrument_id

)

select * from levels
