-- One row per value of an instrument that its provider changed after we had it, corrections first, then newest first;
-- an adjusted close that follows a later dividend or split is counted, not listed, beyond the newest 500.
select
    cadence,
    period_start_date,
    measure,
    old_value,
    new_value,
    change_ratio,
    cause,
    old_known_at,
    first_seen_at,
    provider,
    count(*) filter (where cause not in ('dividend', 'split')) over () as corrected_count,
    count(*) filter (where cause in ('dividend', 'split')) over () as readjusted_count
from mart_restatement
where instrument_id = $instrument_id
order by cause in ('dividend', 'split'), first_seen_at desc, period_start_date desc, cadence asc, measure asc
limit 500
