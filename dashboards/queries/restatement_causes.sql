-- One row per cause of restatements of a $cadence (day, week or any), the most frequent first.
select
    cause,
    count(*) as value_count
from mart_restatement
where $cadence in (cadence, 'any')
group by cause
order by value_count desc, cause asc
