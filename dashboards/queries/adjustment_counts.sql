-- One row per feed whose vendor adjusts: closes that equal ours, closes that do not, and of whom.
select
    provider || '/' || dataset as feed,
    adjustment,
    count(*) as close_count,
    count(*) filter (where is_equal) as equal_count,
    count(distinct instrument_id) as instrument_count,
    count(distinct instrument_id) filter (where not is_equal) as unequal_instrument_count,
    arg_max(symbol, abs(difference_usd)) filter (where not is_equal) as worst_symbol
from mart_adjustment_check
group by feed, adjustment
order by feed, adjustment
