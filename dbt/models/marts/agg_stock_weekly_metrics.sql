with

periods as (

    select * from {{ ref('int_stock_period') }}

),

weeks as (

    select
        *,
        -- In one basis for all weeks, or a split would look like a change of interest.
        average_volume_shares / split_factor as anchored_volume_shares
    from periods
    where cadence = 'week'

),

measures as (

    select
        {{ surrogate_key(['instrument_id', 'period_start_date']) }} as week_key,
        instrument_key,
        date_key,
        instrument_id,
        symbol,
        period_start_date as week_start_date,
        first_session_date,
        session_date,
        session_count,
        expected_session_count,
        is_partial as is_partial_week,
        has_gap,
        open_usd,
        high_usd,
        low_usd,
        close_usd,
        volume_shares,
        average_volume_shares,
        dollar_volume_usd,
        dividend_usd,
        split_ratio,
        split_return_ratio,
        total_return_ratio,
        realised_volatility_ratio,
        {{ deviation('total_return_ratio', 'last_52', 26) }} * sqrt(52) as volatility_52w_ratio,
        {{ zscore('total_return_ratio', 'last_52', 26) }} as return_zscore_52w,
        {{ zscore('anchored_volume_shares', 'last_52', 26) }} as volume_zscore_52w,
        split_factor,
        total_factor
    from weeks
    window last_52 as (
        partition by instrument_id order by period_start_date rows between 51 preceding and current row
    )

)

select * from measures
