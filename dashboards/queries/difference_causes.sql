-- One row per instrument, provider and kind of difference, the most values first.
select
    symbol,
    provider,
    winner_provider,
    verdict,
    likely_split_ratio,
    count(*) as value_count,
    count(distinct session_date) as session_count,
    min(session_date) as first_session_date,
    max(session_date) as last_session_date,
    sum(count(*)) over ()::bigint as difference_count,
    sum(if(verdict = 'missed_split', count(*), 0)) over ()::bigint as missed_split_count
from mart_reconciliation
where verdict <> 'agrees'
group by symbol, provider, winner_provider, verdict, likely_split_ratio
order by value_count desc, symbol asc, provider asc
limit 100
