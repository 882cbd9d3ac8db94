-- One row per instrument and dataset that the newest slice lacks or that is behind it.
select
    symbol,
    provider,
    dataset,
    outcome,
    reason,
    newest_session_date,
    age_days,
    snapshots_behind,
    newest_fetched_at
from mart_coverage
where is_newest_slice and (not is_complete or snapshots_behind > 0)
order by snapshots_behind desc, symbol asc, dataset asc
