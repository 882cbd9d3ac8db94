{{ config(materialized='view') }}
with

prices as (

    select * from {{ ref('fact_daily_price') }}

),

anchors as (

    select * from {{ ref('dim_price_anchor') }}

),

adjusted_prices as (

    select
        prices.daily_price_key,
        prices.instrument_key,
        prices.date_key,
        prices.source_key,
        prices.instrument_id,
        prices.symbol,
        prices.session_date,
        prices.bar_number,
        prices.provider,
        prices.provider_count,
        prices.agreeing_provider_count,
        prices.open_usd,
        prices.high_usd,
        prices.low_usd,
        prices.close_usd,
        prices.volume_shares,
        prices.vwap_usd,
        prices.transaction_count,
        prices.split_ratio,
        prices.dividend_usd,
        prices.split_factor,
        prices.total_factor,
        prices.raw_return_ratio,
        prices.split_return_ratio,
        prices.total_return_ratio,
        prices.log_return,
        prices.gap_ratio,
        prices.dollar_volume_usd,
        prices.true_range_ratio,
        prices.average_20d_anchored_usd,
        prices.average_50d_anchored_usd,
        prices.average_120d_anchored_usd,
        prices.average_200d_anchored_usd,
        prices.volatility_20d_ratio,
        prices.volatility_60d_ratio,
        prices.volatility_252d_ratio,
        prices.return_zscore_20d,
        prices.return_zscore_252d,
        prices.volume_zscore_20d,
        prices.price_zscore_252d,
        prices.high_252d_anchored_usd,
        prices.low_252d_anchored_usd,
        prices.open_usd * (prices.split_factor / anchors.split_factor) as split_adjusted_open_usd,
        prices.high_usd * (prices.split_factor / anchors.split_factor) as split_adjusted_high_usd,
        prices.low_usd * (prices.split_factor / anchors.split_factor) as split_adjusted_low_usd,
        prices.close_usd * (prices.split_factor / anchors.split_factor) as split_adjusted_close_usd,
        prices.volume_shares * (anchors.split_factor / prices.split_factor) as split_adjusted_volume_shares,
        prices.close_usd * (prices.total_factor / anchors.total_factor) as total_return_close_usd,
        prices.average_20d_anchored_usd / anchors.split_factor as average_20d_usd,
        prices.average_50d_anchored_usd / anchors.split_factor as average_50d_usd,
        prices.average_120d_anchored_usd / anchors.split_factor as average_120d_usd,
        prices.average_200d_anchored_usd / anchors.split_factor as average_200d_usd,
        prices.high_252d_anchored_usd / anchors.split_factor as high_252d_usd,
        prices.low_252d_anchored_usd / anchors.split_factor as low_252d_usd
    from prices
    inner join anchors
        on prices.instrument_id = anchors.instrument_id

)

select * from adjusted_prices
