-- One row per daily bar since $since of the instruments whose ids are in $instruments, by comma: its close in one
-- $adjustment, raw as traded, split in today's shares, total with dividends reinvested too.
select
    instrument_id,
    session_date as bar_date,
    case $adjustment
        when 'total' then total_return_close_usd
        when 'split' then split_adjusted_close_usd
        else close_usd
    end as level_usd
from daily_price
where instrument_id in (select unnest(string_split($instruments, ','))) and session_date >= $since
