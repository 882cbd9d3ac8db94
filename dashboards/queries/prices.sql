-- One instrument's bars of one $interval (day, week or month) from $since to $until, oldest first, in one
-- $adjustment: raw as traded, split in today's shares, total with dividends reinvested too. Averages, volatilities,
-- the 252-session band and the price's z-score are those of the bar's last session in all three; the averages and
-- the band are stated on the price as drawn.
with days as (
    select
        *,
        split_adjusted_close_usd / close_usd as split_basis,
        if($adjustment = 'total', total_return_close_usd / close_usd, split_basis) as basis,
        if($adjustment = 'raw', 1.0, basis) as drawn
    from daily_price
    where instrument_id = $instrument_id
),

-- With dividends the levels are others, so their windows are computed here, as gold computes those of the split basis.
levels as (
    select
        session_date,
        drawn,
        if($adjustment = 'total', drawn, drawn / split_basis) as scale,
        if(count(*) over d20 = 20, avg(close_usd * basis) over d20, null) as total_20d,
        if(count(*) over d50 = 50, avg(close_usd * basis) over d50, null) as total_50d,
        if(count(*) over d120 = 120, avg(close_usd * basis) over d120, null) as total_120d,
        if(count(*) over d200 = 200, avg(close_usd * basis) over d200, null) as total_200d,
        if(high_252d_usd is null, null, max(high_usd * basis) over d252) as total_high,
        if(low_252d_usd is null, null, min(low_usd * basis) over d252) as total_low,
        if($adjustment = 'total', total_20d, average_20d_usd * scale) as average_20d_usd,
        if($adjustment = 'total', total_50d, average_50d_usd * scale) as average_50d_usd,
        if($adjustment = 'total', total_120d, average_120d_usd * scale) as average_120d_usd,
        if($adjustment = 'total', total_200d, average_200d_usd * scale) as average_200d_usd,
        if($adjustment = 'total', total_high, high_252d_usd * scale) as high_252d_usd,
        if($adjustment = 'total', total_low, low_252d_usd * scale) as low_252d_usd,
        volatility_20d_ratio,
        volatility_60d_ratio,
        volatility_252d_ratio,
        return_zscore_20d,
        return_zscore_252d,
        volume_zscore_20d,
        price_zscore_252d
    from days
    window
        d20 as (order by session_date rows 19 preceding),
        d50 as (order by session_date rows 49 preceding),
        d120 as (order by session_date rows 119 preceding),
        d200 as (order by session_date rows 199 preceding),
        d252 as (order by session_date rows 251 preceding)
),

bars as (
    select
        session_date,
        session_date as first_session_date,
        1 as session_count,
        false as is_partial,
        open_usd,
        high_usd,
        low_usd,
        close_usd,
        volume_shares,
        split_adjusted_volume_shares,
        dollar_volume_usd,
        split_ratio,
        dividend_usd,
        split_return_ratio,
        total_return_ratio,
        return_zscore_252d as return_zscore,
        volume_zscore_20d as volume_zscore
    from days
    where $interval = 'day'
    union all
    select
        session_date,
        first_session_date,
        session_count,
        is_partial_week,
        open_usd,
        high_usd,
        low_usd,
        close_usd,
        volume_shares,
        split_adjusted_volume_shares,
        dollar_volume_usd,
        split_ratio,
        dividend_usd,
        split_return_ratio,
        total_return_ratio,
        return_zscore_52w,
        volume_zscore_52w
    from weekly_price
    where $interval = 'week' and instrument_id = $instrument_id
    union all
    select
        session_date,
        first_session_date,
        session_count,
        is_partial_month,
        open_usd,
        high_usd,
        low_usd,
        close_usd,
        volume_shares,
        split_adjusted_volume_shares,
        dollar_volume_usd,
        split_ratio,
        dividend_usd,
        split_return_ratio,
        total_return_ratio,
        return_zscore_36m,
        volume_zscore_36m
    from monthly_price
    where $interval = 'month' and instrument_id = $instrument_id
)

-- A bar is marked when a value of a session in it was corrected by the provider that the session is drawn from.
select
    b.session_date,
    b.first_session_date,
    b.session_count,
    b.is_partial,
    b.open_usd * l.drawn as open_usd,
    b.high_usd * l.drawn as high_usd,
    b.low_usd * l.drawn as low_usd,
    b.close_usd * l.drawn as close_usd,
    b.close_usd as raw_close_usd,
    if($adjustment = 'raw', b.volume_shares, b.split_adjusted_volume_shares) as volume_shares,
    b.dollar_volume_usd,
    nullif(b.split_ratio, 1) as split_ratio,
    nullif(b.dividend_usd, 0) as dividend_usd,
    if($adjustment = 'total', b.total_return_ratio, b.split_return_ratio) as return_ratio,
    l.average_20d_usd,
    l.average_50d_usd,
    l.average_120d_usd,
    l.average_200d_usd,
    l.high_252d_usd,
    l.low_252d_usd,
    l.volatility_20d_ratio,
    l.volatility_60d_ratio,
    l.volatility_252d_ratio,
    b.return_zscore,
    b.volume_zscore,
    l.price_zscore_252d,
    (
        select count(*) from mart_restatement as r
        inner join days as d on r.session_date = d.session_date and r.provider = d.provider
        where
            r.cadence = 'day'
            and r.instrument_id = $instrument_id
            and r.cause not in ('dividend', 'split')
            and r.session_date between b.first_session_date and b.session_date
    ) as corrected_values
from bars as b
inner join levels as l on b.session_date = l.session_date
where b.session_date between $since and $until
order by b.session_date
