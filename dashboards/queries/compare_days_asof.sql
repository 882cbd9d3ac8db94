-- As compare_days.sql, from the versions and the splits and dividends that were known at $known_at: factors are
-- computed again from those, by gold's rules.
with known_bars as (
    select
        instrument_id,
        session_date,
        close_usd
    from price_history_asof($known_at::timestamptz)
    where instrument_id in (select unnest(string_split($instruments, ',')))
),

firsts as (
    select
        instrument_id,
        min(session_date) as first_bar_date
    from known_bars
    group by instrument_id
),

-- An action takes effect on the first bar on or after its day. A dividend was paid on the shares of its own day.
placed_actions as (
    select
        b.instrument_id,
        b.session_date,
        coalesce(a.split_ratio, 1) as split_ratio,
        coalesce(a.cash_amount, 0)::double as dividend_usd,
        product(coalesce(a.split_ratio, 1)) over (
            partition by b.instrument_id, b.session_date order by a.first_session_date
        ) as share_ratio
    from fact_corporate_action as a
    asof inner join known_bars as b on a.instrument_id = b.instrument_id and a.first_session_date <= b.session_date
    inner join firsts as f on a.instrument_id = f.instrument_id and a.first_session_date >= f.first_bar_date
    where a.known_from <= $known_at::timestamptz and (a.action_type = 'split' or a.currency = 'USD')
),

actions as (
    select
        instrument_id,
        session_date,
        product(split_ratio) as split_ratio,
        sum(dividend_usd * share_ratio) / product(split_ratio) as dividend_usd
    from placed_actions
    group by instrument_id, session_date
),

-- The close before in the basis after a split of the day: a dividend leaves 1 - dividend / that close of the price. One
-- that is not below it changes nothing.
neighbours as (
    select
        b.instrument_id,
        b.session_date,
        b.close_usd,
        coalesce(a.split_ratio, 1) as split_ratio,
        coalesce(a.dividend_usd, 0) as dividend_usd,
        lag(b.close_usd) over in_time / coalesce(a.split_ratio, 1) as basis_before
    from known_bars as b
    left join actions as a on b.instrument_id = a.instrument_id and b.session_date = a.session_date
    window in_time as (partition by b.instrument_id order by b.session_date)
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
    window in_time as (partition by instrument_id order by session_date)
),

levels as (
    select
        instrument_id,
        session_date as bar_date,
        case $adjustment
            when 'total' then close_usd * total_factor / last_value(total_factor) over whole
            when 'split' then close_usd * split_factor / last_value(split_factor) over whole
            else close_usd
        end as level_usd
    from factors
    window
        whole as (
            partition by instrument_id order by session_date rows between unbounded preceding and unbounded following
        )
)

select * from levels
where bar_date >= $since
