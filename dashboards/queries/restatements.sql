-- One row per value that a provider changed after we had it, corrections first, then newest first; the first 2,000.
select
    first_seen_at,
    symbol,
    week_start_date,
    measure,
    old_value,
    new_value,
    change_ratio,
    cause,
    old_known_at,
    provider,
    instrument_id
from mart_restatement
order by cause in ('dividend', 'split'), first_seen_at desc, symbol asc, week_start_date desc, measure asc
limit 2000
