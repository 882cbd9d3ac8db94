-- One row per instrument and dataset that the newest slice lacks or that is behind it, of the feeds that are fetched
-- whole: what a session feed lacks is a gap.
select
    c.symbol,
    c.provider,
    c.dataset,
    c.outcome,
    c.reason,
    c.newest_session_date,
    c.age_days,
    c.snapshots_behind,
    c.newest_fetched_at
from mart_coverage as c
left join dim_source as s on c.provider = s.provider and c.dataset = s.dataset
where s.grain is distinct from 'session' and c.is_newest_slice and (not c.is_complete or c.snapshots_behind > 0)
order by c.snapshots_behind desc, c.symbol asc, c.dataset asc
