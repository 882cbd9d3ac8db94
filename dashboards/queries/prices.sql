-- One instrument's weeks on one price basis, oldest first. The 52-week band is that of the bars as drawn; return,
-- volatility and z-scores are always those of adjusted closes. A split is inferred from the adjustment factor, after
-- taking out the week's dividend.
with bars as (
    select
        *,
        adjusted_close_usd / nullif(close_usd, 0) as adjustment,
        if($is_adjusted, adjustment, 1.0) as factor
    from fact_adjusted_prices
    where instrument_id = $instrument_id
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
        distance_to_high_52w_ratio,
        volatility_52w_ratio,
        return_zscore_52w,
        volume_zscore_52w,
        adjustment / lag(adjustment) over by_week
        * (1 - coalesce(dividend_usd, 0) / lag(close_usd) over by_week) as implied_split_ratio,
        is_partial_week,
        version_number,
        known_at
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
    where instrument_id = $instrument_id and cause not in ('dividend', 'split')
    group by week_start_date
)

select
    d.* exclude (implied_split_ratio),
    if(abs(ln(d.implied_split_ratio)) > ln(1.15), round(d.implied_split_ratio, 2), null) as split_ratio,
    coalesce(c.corrected_values, 0) as corrected_values
from drawn as d
left join corrected as c on d.week_start_date = c.week_start_date
where d.week_start_date >= $since
order by d.week_start_date
