-- One row per provider: how its bars compare with the winners', over all instruments that several providers have.
select
    provider,
    count(*) as instrument_count,
    min(first_session_date) as first_session_date,
    max(session_date) as session_date,
    sum(session_count)::bigint as session_count,
    sum(won_session_count)::bigint as won_session_count,
    sum(value_count)::bigint as value_count,
    sum(agreeing_count)::bigint as agreeing_count,
    sum(differing_count)::bigint as differing_count,
    sum(missed_split_count)::bigint as missed_split_count,
    sum(agreeing_count) / sum(value_count) as provider_score,
    sum(confirmed_ratio * value_count) / sum(value_count) as confirmed_ratio,
    max(largest_close_difference_ratio) as largest_close_difference_ratio
from mart_provider_score
group by provider
order by provider_score desc, provider asc
