-- One row per dataset and slice: how many instruments were expected and what became of them; the newest 26 slices.
select
    provider,
    dataset,
    slice_start_date,
    count(*) as expected_count,
    count(*) filter (where is_complete) as complete_count,
    count(*) filter (where outcome = 'deferred') as deferred_count,
    count(*) filter (where outcome in ('refused', 'failed')) as failed_count,
    count(*) filter (where outcome in ('missing', 'not_yet')) as missing_count,
    avg(is_complete::integer) as complete_ratio,
    string_agg(symbol || ' ' || outcome, ', ' order by symbol) filter (where not is_complete) as absent
from mart_coverage
group by provider, dataset, slice_start_date
qualify dense_rank() over (order by slice_start_date desc) <= 26
order by slice_start_date, provider, dataset
