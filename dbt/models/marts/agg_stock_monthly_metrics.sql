with

periods as (

    select * from {{ ref('int_stock_period') }}

),

months as (

    select
        *,
        -- In one basis for all months, or a split would look like a change of interest.
        average_volume_shares / split_factor as anchored_volume_shares
    from periods
    where cadence = 'month'

),

measures as (

    select
        {{ surrogate_key(['instrument_id', 'period_start_date']) }} as month_key,
        instrument_key,
        date_key,
        instrument_id,
        symbol,
        period_start_date as month_start_date,
        first_session_date,
        session_date,
        session_count,
        expected_session_count,
        is_partial as is_partial_month,
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
        {{ deviation('total_return_ratio', 'last_36', 18) }} * sqrt(12) as volatility_36m_ratio,
        {{ zscore('total_return_ratio', 'last_36', 18) }} as return_zscore_36m,
        {{ zscore('anchored_volume_shares', 'last_36', 18) }} as volume_zscore_36m,
        split_factor,
        total_factor
    from months
    window last_36 as (
        partition by instrument_id order by period_start_date rows between 35 preceding and current row
    )

)

select * from measures
