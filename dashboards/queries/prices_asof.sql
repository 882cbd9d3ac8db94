-- As prices.sql for days, from the versions and the splits and dividends that were known at $known_at: factors, returns
-- and windows are computed again from those, by gold's rules.
with bars as (
    select
        session_date,
        provider,
        version_number,
        known_from,
        open_usd,
        high_usd,
        low_usd,
        close_usd,
        volume_shares
    from price_history_asof($known_at::timestamptz)
    where instrument_id = $instrument_id
),

-- An action takes effect on the first bar on or after its day. A dividend was paid on the shares of its own day.
placed_actions as (
    select
        b.session_date,
        coalesce(a.split_ratio, 1) as split_ratio,
        coalesce(a.cash_amount, 0)::double as dividend_usd,
        product(coalesce(a.split_ratio, 1)) over (
            partition by b.session_date order by a.first_session_date
        ) as share_ratio
    from fact_corporate_action as a
    asof inner join bars as b on a.first_session_date <= b.session_date
    where
        a.instrument_id = $instrument_id
        and a.known_from <= $known_at::timestamptz
        and (a.action_type = 'split' or a.currency = 'USD')
        and a.first_session_date >= (select min(f.session_date) from bars as f)
),

actions as (
    select
        session_date,
        product(split_ratio) as split_ratio,
        sum(dividend_usd * share_ratio) / product(split_ratio) as dividend_usd
    from placed_actions
    group by session_date
),

-- The close before in the basis after a split of the day: a dividend leaves 1 - dividend / that close of the price. One
-- that is not below it changes nothing.
neighbours as (
    select
        b.*,
        lag(b.session_date) over in_time = d.previous_session_date as follows_session_before,
        coalesce(a.split_ratio, 1) as split_ratio,
        coalesce(a.dividend_usd, 0) as dividend_usd,
        lag(b.close_usd) over in_time / coalesce(a.split_ratio, 1) as basis_before
    from bars as b
    left join actions as a on b.session_date = a.session_date
    left join dim_date as d on b.session_date = d.calendar_date
    window in_time as (order by b.session_date)
),

steps as (
    select
        *,
        if(basis_before is null, 1, split_ratio) as split_step,
        if(dividend_usd < basis_before, split_step / (1 - dividend_usd / basis_before), split_step) as total_step
    from neighbours
),

factors as (
    select
        *,
        product(split_step) over in_time as split_factor,
        product(total_step) over in_time as total_factor
    from steps
    window in_time as (order by session_date)
),

levels as (
    select
        *,
        split_factor / last_value(split_factor) over whole as split_basis,
        if($adjustment = 'total', total_factor / last_value(total_factor) over whole, split_basis) as basis,
        if($adjustment = 'raw', 1.0, basis) as drawn,
        close_usd * split_factor as level,
        volume_shares / split_factor as shares,
        if(follows_session_before, close_usd / basis_before - 1, null) as split_return_ratio,
        if(follows_session_before, close_usd * total_step / split_step / basis_before - 1, null) as total_return_ratio,
        ln(total_return_ratio + 1) as log_return
    from factors
    window whole as (order by session_date rows between unbounded preceding and unbounded following)
),

measures as (
    select
        *,
        if(count(*) over d20 = 20, avg(close_usd * basis) over d20, null) / basis * drawn as average_20d_usd,
        if(count(*) over d50 = 50, avg(close_usd * basis) over d50, null) / basis * drawn as average_50d_usd,
        if(count(*) over d120 = 120, avg(close_usd * basis) over d120, null) / basis * drawn as average_120d_usd,
        if(count(*) over d200 = 200, avg(close_usd * basis) over d200, null) / basis * drawn as average_200d_usd,
        if(count(*) over d252 = 252, max(high_usd * basis) over d252, null) / basis * drawn as high_252d_usd,
        if(count(*) over d252 = 252, min(low_usd * basis) over d252, null) / basis * drawn as low_252d_usd,
        if(count(log_return) over d20 >= 10, stddev_samp(log_return) over d20, null) as deviation_20d,
        if(count(log_return) over d252 >= 126, stddev_samp(log_return) over d252, null) as deviation_252d,
        deviation_20d * sqrt(252) as volatility_20d_ratio,
        if(count(log_return) over d60 >= 30, stddev_samp(log_return) over d60, null) * sqrt(252)
            as volatility_60d_ratio,
        deviation_252d * sqrt(252) as volatility_252d_ratio,
        (log_return - avg(log_return) over d252) / nullif(deviation_252d, 0) as return_zscore,
        if(count(*) over d20 >= 10, (shares - avg(shares) over d20) / nullif(stddev_samp(shares) over d20, 0), null)
            as volume_zscore,
        if(count(*) over d252 >= 126, (level - avg(level) over d252) / nullif(stddev_samp(level) over d252, 0), null)
            as price_zscore_252d
    from levels
    window
        d20 as (order by session_date rows 19 preceding),
        d50 as (order by session_date rows 49 preceding),
        d60 as (order by session_date rows 59 preceding),
        d120 as (order by session_date rows 119 preceding),
        d200 as (order by session_date rows 199 preceding),
        d252 as (order by session_date rows 251 preceding)
)

-- A bar is marked when a value of it was corrected by then, by the provider it is of.
select
    m.session_date,
    m.session_date as first_session_date,
    1 as session_count,
    false as is_partial,
    m.open_usd * m.drawn as open_usd,
    m.high_usd * m.drawn as high_usd,
    m.low_usd * m.drawn as low_usd,
    m.close_usd * m.drawn as close_usd,
    m.close_usd as raw_close_usd,
    if($adjustment = 'raw', m.volume_shares, m.volume_shares / m.split_basis) as volume_shares,
    m.close_usd * m.volume_shares as dollar_volume_usd,
    nullif(m.split_ratio, 1) as split_ratio,
    nullif(m.dividend_usd, 0) as dividend_usd,
    if($adjustment = 'total', m.total_return_ratio, m.split_return_ratio) as return_ratio,
    m.average_20d_usd,
    m.average_50d_usd,
    m.average_120d_usd,
    m.average_200d_usd,
    m.high_252d_usd,
    m.low_252d_usd,
    m.volatility_20d_ratio,
    m.volatility_60d_ratio,
    m.volatility_252d_ratio,
    m.return_zscore,
    m.volume_zscore,
    m.price_zscore_252d,
    (
        select count(*) from mart_restatement as r
        where
            r.cadence = 'day'
            and r.instrument_id = $instrument_id
            and r.cause not in ('dividend', 'split')
            and r.session_date = m.session_date
            and r.provider = m.provider
            and r.first_seen_at <= $known_at::timestamptz
    ) as corrected_values,
    m.provider,
    m.version_number,
    m.known_from as known_at
from measures as m
where m.session_date between $since and $until
order by m.session_date
