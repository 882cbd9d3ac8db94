-- As feed_weeks.sql, from the versions that were known at $known_at; return, volatility and z-scores are computed again
-- from those versions by gold's rules: 52 bars, at least 52 returns, none across a gap.
with bars as (
    select
        *,
        adjusted_close_usd / nullif(close_usd, 0) as adjustment,
        adjustment / lag(adjustment) over in_time
        * (1 - coalesce(dividend_usd, 0) / lag(close_usd) over in_time) as step,
        if(abs(ln(step)) > ln(1.15), round(step, 2), null) as split_ratio,
        if(
            week_start_date - lag(week_start_date) over in_time = 7,
            adjusted_close_usd / lag(adjusted_close_usd) over in_time - 1,
            null
        ) as weekly_return_ratio
    from weekly_price_history_asof($known_at::timestamptz)
    where instrument_id = $instrument_id
    window in_time as (order by week_start_date)
),

based as (
    select
        *,
        1 / coalesce(product(split_ratio) over (
            order by week_start_date rows between 1 following and unbounded following
        ), 1) as split_basis,
        case $adjustment when 'total' then adjustment when 'split' then split_basis else 1.0 end as drawn
    from bars
),

drawn_bars as (
    select
        *,
        close_usd * split_basis / lag(close_usd * split_basis) over (order by week_start_date) - 1
            as split_return_ratio,
        if(count(*) over year_back >= 52, max(high_usd * drawn) over year_back, null) as drawn_high_usd,
        if(count(*) over year_back >= 52, min(low_usd * drawn) over year_back, null) as drawn_low_usd,
        if(count(weekly_return_ratio) over year_back >= 52, stddev_samp(weekly_return_ratio) over year_back, null)
            as deviation,
        (weekly_return_ratio - avg(weekly_return_ratio) over year_back) / nullif(deviation, 0) as return_zscore,
        if(
            count(volume_shares) over year_back >= 52,
            (volume_shares - avg(volume_shares) over year_back) / nullif(stddev_samp(volume_shares) over year_back, 0),
            null
        ) as volume_zscore,
        if(
            count(*) over year_back >= 52,
            (adjusted_close_usd - avg(adjusted_close_usd) over year_back)
            / nullif(stddev_samp(adjusted_close_usd) over year_back, 0),
            null
        ) as price_zscore_52w
    from based
    window year_back as (order by week_start_date rows between 51 preceding and current row)
)

-- A bar is marked when a value of it was corrected by then.
select
    b.session_date,
    b.week_start_date as first_session_date,
    b.is_partial_week as is_partial,
    b.open_usd * b.drawn as open_usd,
    b.high_usd * b.drawn as high_usd,
    b.low_usd * b.drawn as low_usd,
    b.close_usd * b.drawn as close_usd,
    b.close_usd as raw_close_usd,
    b.adjusted_close_usd,
    if($adjustment = 'raw', b.volume_shares, b.volume_shares / b.split_basis) as volume_shares,
    b.close_usd * b.volume_shares as dollar_volume_usd,
    b.split_ratio,
    nullif(b.dividend_usd, 0) as dividend_usd,
    if($adjustment = 'total', b.weekly_return_ratio, b.split_return_ratio) as return_ratio,
    b.drawn_high_usd as high_52w_usd,
    b.drawn_low_usd as low_52w_usd,
    b.deviation * sqrt(52) as volatility_52w_ratio,
    b.return_zscore,
    b.volume_zscore,
    b.price_zscore_52w,
    (
        select count(*) from mart_restatement as r
        where
            r.cadence = 'week'
            and r.instrument_id = $instrument_id
            and r.cause not in ('dividend', 'split')
            and r.week_start_date = b.week_start_date
            and r.first_seen_at <= $known_at::timestamptz
    ) as corrected_values,
    b.version_number,
    b.known_from as known_at
from drawn_bars as b
where b.session_date between $since and $until
order by b.session_date
