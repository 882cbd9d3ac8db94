-- One row per rejected row and rule, newest first; the newest 2,000.
select
    known_at,
    provider,
    dataset,
    slice_start_date,
    symbol,
    rule,
    row_json,
    bronze_key
from mart_quarantine
order by known_at desc, symbol asc, rule asc
limit 2000
