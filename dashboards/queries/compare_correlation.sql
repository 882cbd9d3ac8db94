-- One row per pair of instruments, each with itself too: the correlation of their log returns over the bars from
-- $zoom_since to $zoom_until that both have after the same bar before, of at least 20 of them.
with returns as (
    select
        instrument_id,
        bar_date,
        lag(bar_date) over in_time as previous_date,
        ln(level_usd / lag(level_usd) over in_time) as log_return
    from bars
    window in_time as (partition by instrument_id order by bar_date)
),

shown as (
    select
        r.*,
        i.symbol
    from returns as r
    inner join dim_instrument as i on r.instrument_id = i.instrument_id
    where i.is_current and r.log_return is not null and r.bar_date between $zoom_since and $zoom_until
)

select
    a.symbol,
    b.symbol as other_symbol,
    if(count(*) >= 20, corr(a.log_return, b.log_return), null) as correlation,
    count(*) as return_count,
    min(a.bar_date) as first_date,
    max(a.bar_date) as last_date,
    a.instrument_id,
    b.instrument_id as other_instrument_id
from shown as a
inner join shown as b on a.bar_date = b.bar_date and a.previous_date = b.previous_date
group by a.instrument_id, b.instrument_id, a.symbol, b.symbol
order by a.symbol, a.instrument_id, b.symbol, b.instrument_id
