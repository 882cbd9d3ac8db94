-- One row per value of a $cadence (day, week or any) that a provider changed after we had it, corrections first, then
-- newest first; the first 2,000.
select
    first_seen_at,
    symbol,
    cadence,
    period_start_date,
    measure,
    old_value,
    new_value,
    change_ratio,
    cause,
    old_known_at,
    provider,
    instrument_id
from mart_restatement
where $cadence in (cadence, 'any')
order by
    cause in ('dividend', 'split'), first_seen_at desc, symbol asc, period_start_date desc, cadence asc, measure asc
limit 2000
