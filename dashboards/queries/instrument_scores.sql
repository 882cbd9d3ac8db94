-- One row per provider and instrument of the 16 instruments on which providers agree least.
with worst as (
    select
        instrument_id,
        min(provider_score) as lowest_score
    from mart_provider_score
    group by instrument_id
    order by lowest_score asc, instrument_id asc
    limit 16
)

select
    s.provider,
    s.symbol,
    s.provider_score,
    s.confirmed_ratio,
    s.value_count,
    s.agreeing_count,
    s.differing_count,
    s.missed_split_count,
    s.session_count,
    s.won_session_count,
    s.largest_close_difference_ratio,
    s.first_session_date,
    s.session_date,
    w.lowest_score
from mart_provider_score as s
inner join worst as w on s.instrument_id = w.instrument_id
order by w.lowest_score, s.symbol, s.provider
