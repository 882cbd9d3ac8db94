-- As prices.sql, from the versions that were known at $known_at; return, volatility and z-scores are computed again
-- from those versions by gold's rules: 52 bars, at least 52 returns, none across a gap.
with bars as (
    select
        *,
        adjusted_close_usd / nullif(close_usd, 0) as adjustment,
        if($is_adjusted, adjustment, 1.0) as factor,
        if(
            week_start_date - lag(week_start_date) over by_week = 7,
            adjusted_close_usd / lag(adjusted_close_usd) over by_week - 1,
            null
        ) as weekly_return_ratio
    from price_history_asof($known_at::timestamptz)
    where instrument_id = $instrument_id
    window by_week as (order by week_start_date)
),

drawn as (
    select
        week_start_date,
        session_date,
        open_usd * factor as open_usd,
        high_usd * factor as high_usd,
        low_usd * factor as low_usd,
        close_usd * factor as close_usd,
        adjusted_close_usd,
        volume_shares,
        dividend_usd,
        weekly_return_ratio,
        if(count(*) over year_back >= 52, max(high_usd * factor) over year_back, null) as high_52w_usd,
        if(count(*) over year_back >= 52, min(low_usd * factor) over year_back, null) as low_52w_usd,
        if(count(*) over year_back >= 52, max(high_usd * adjustment) over year_back, null) as highest_adjusted,
        adjusted_close_usd / highest_adjusted - 1 as distance_to_high_52w_ratio,
        if(count(weekly_return_ratio) over year_back >= 52, stddev_samp(weekly_return_ratio) over year_back, null)
            as deviation,
        deviation * sqrt(52) as volatility_52w_ratio,
        (weekly_return_ratio - avg(weekly_return_ratio) over year_back) / nullif(deviation, 0) as return_zscore_52w,
        if(
            count(volume_shares) over year_back >= 52,
            (volume_shares - avg(volume_shares) over year_back) / nullif(stddev_samp(volume_shares) over year_back, 0),
            null
        ) as volume_zscore_52w,
        adjustment / lag(adjustment) over by_week
        * (1 - coalesce(dividend_usd, 0) / lag(close_usd) over by_week) as implied_split_ratio,
        is_partial_week,
        version_number,
        known_from as known_at
    from bars
    window
        by_week as (order by week_start_date),
        year_back as (order by week_start_date rows between 51 preceding and current row)
),

-- A week is marked when a value of it was corrected; a vendor's factor that follows a later dividend or split is none.
corrected as (
    select
        week_start_date,
        count(*) as corrected_values
    from mart_restatement
    where
        instrument_id = $instrument_id
        and cause not in ('dividend', 'split')
        and first_seen_at <= $known_at::timestamptz
    group by week_start_date
)

select
    d.* exclude (implied_split_ratio, deviation, highest_adjusted),
    if(abs(ln(d.implied_split_ratio)) > ln(1.15), round(d.implied_split_ratio, 2), null) as split_ratio,
    coalesce(c.corrected_values, 0) as corrected_values
from drawn as d
left join corrected as c on d.week_start_date = c.week_start_date
where d.week_start_date >= $since
order by d.week_start_date
