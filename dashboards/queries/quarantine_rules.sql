-- One row per feed and rule: how many rows broke it, most first; the first 20.
select
    provider || '/' || dataset || ': ' || rule as rule,
    count(*) as row_count,
    count(distinct symbol) as symbol_count
from mart_quarantine
group by provider, dataset, rule
order by row_count desc, rule asc
limit 20
