with

reconciliation as (

    select * from {{ ref('mart_reconciliation') }}

),

-- The winner's own value stands when somebody else's agrees with it; the others' stand when they agree with the winner.
supported_values as (

    select
        *,
        verdict = 'agrees'
        and (
            not is_winner
            or count(case when verdict = 'agrees' then 1 end) over (
                partition by instrument_id, session_date, measure
            ) > 1
        ) as is_confirmed
    from reconciliation

),

scores as (

    select
        {{ surrogate_key(['provider', 'instrument_id']) }} as provider_score_key,
        provider,
        instrument_id,
        max_by(symbol, session_date) as symbol,
        min(session_date) as first_session_date,
        max(session_date) as session_date,
        count(case when measure = 'close_usd' then 1 end) as session_count,
        count(case when measure = 'close_usd' and is_winner then 1 end) as won_session_count,
        count(*) as value_count,
        count(case when verdict = 'agrees' then 1 end) as agreeing_count,
        count(case when is_equal then 1 end) as equal_count,
        count(case when verdict = 'differs' then 1 end) as differing_count,
        count(case when verdict = 'missed_split' then 1 end) as missed_split_count,
        max(provider_score) as provider_score,
        avg(case when is_confirmed then 1.0 else 0.0 end) as confirmed_ratio,
        max(case when measure = 'close_usd' then abs(difference_ratio) end) as largest_close_difference_ratio
    from supported_values
    group by provider, instrument_id

)

select * from scores
