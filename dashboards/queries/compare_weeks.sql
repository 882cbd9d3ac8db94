-- As compare_days.sql, per week of the weekly feed, by the week's last session; as it was known at $known_at when
-- that is given. The feed gives no splits: they are inferred from its adjustment factor, after taking out the week's
-- dividend.
with known_bars as (
    select
        instrument_id,
        week_start_date,
        session_date,
        close_usd,
        adjusted_close_usd,
        coalesce(dividend_usd, 0) as dividend_usd
    from weekly_price_history_asof(coalesce($known_at::timestamptz, timestamptz '9999-01-01'))
    where instrument_id in (select unnest(string_split($instruments, ',')))
),

steps as (
    select
        *,
        adjusted_close_usd / nullif(close_usd, 0) as adjustment,
        adjustment / lag(adjustment) over in_time * (1 - dividend_usd / lag(close_usd) over in_time) as step,
        if(abs(ln(step)) > ln(1.15), round(step, 2), null) as split_ratio
    from known_bars
    window in_time as (partition by instrument_id order by week_start_date)
),

splits as (
    select
        *,
        coalesce(product(split_ratio) over (
            partition by instrument_id order by week_start_date rows between 1 following and unbounded following
        ), 1) as later_split_ratio
    from steps
),

levels as (
    select
        instrument_id,
        session_date as bar_date,
        case $adjustment
            when 'total' then adjusted_close_usd
            when 'split' then close_usd / later_split_ratio
            else close_usd
        end as level_usd
    from splits
)

select * from levels
where bar_date >= $since
