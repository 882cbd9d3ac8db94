-- One row per cause of restatements, the most frequent first.
select
    cause,
    count(*) as value_count
from mart_restatement
group by cause
order by value_count desc, cause asc
