-- One row per dataset and slice of the feeds that are fetched whole: how many instruments were expected and what became
-- of them; the newest 26 slices.
select
    c.provider,
    c.dataset,
    c.slice_start_date,
    count(*) as expected_count,
    count(*) filter (where c.is_complete) as complete_count,
    count(*) filter (where c.outcome = 'deferred') as deferred_count,
    count(*) filter (where c.outcome in ('refused', 'failed')) as failed_count,
    count(*) filter (where c.outcome in ('missing', 'not_yet')) as missing_count,
    avg(c.is_complete::integer) as complete_ratio,
    string_agg(c.symbol || ' ' || c.outcome, ', ' order by c.symbol) filter (where not c.is_complete) as absent
from mart_coverage as c
left join dim_source as s on c.provider = s.provider and c.dataset = s.dataset
where s.grain is distinct from 'session'
group by c.provider, c.dataset, c.slice_start_date
qualify dense_rank() over (order by c.slice_start_date desc) <= 26
order by c.slice_start_date, c.provider, c.dataset
