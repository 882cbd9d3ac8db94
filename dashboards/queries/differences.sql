-- One row per value of a provider beyond the tolerance of the winner's, missed splits first, then newest first; the
-- first 2,000.
select
    symbol,
    session_date,
    measure,
    provider,
    value,
    winner_provider,
    winner_value,
    difference_ratio,
    tolerance_ratio,
    verdict,
    likely_split_ratio,
    provider_score
from mart_reconciliation
where verdict <> 'agrees'
order by verdict = 'missed_split' desc, session_date desc, symbol asc, measure asc, provider asc
limit 2000
