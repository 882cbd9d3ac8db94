-- One row per vendor's adjusted close that is not ours, furthest first; the first 2,000.
select
    symbol,
    session_date,
    provider || '/' || dataset as feed,
    adjustment,
    vendor_close_usd,
    own_close_usd,
    difference_usd,
    tolerance_usd,
    raw_close_usd,
    adjustment_ratio as factor,
    known_at
from mart_adjustment_check
where not is_equal
order by abs(difference_usd) desc, symbol asc, session_date desc, feed asc
limit 2000
