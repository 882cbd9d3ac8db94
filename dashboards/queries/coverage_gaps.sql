-- One row per gap: a followed instrument that session feeds lack over the same sessions in a row, newest first; the
-- first 2,000. Feeds spell a symbol in their own ways, so a gap is the instrument's, under the symbol of today.
with cells as (
    select
        c.provider,
        c.dataset,
        c.instrument_id,
        coalesce(i.symbol, c.symbol) as symbol,
        c.slice_start_date,
        coalesce(nullif(c.reason, ''), c.outcome) as reason,
        c.is_complete,
        dense_rank() over (partition by c.provider, c.dataset order by c.slice_start_date) as session_number,
        max(c.slice_start_date) over (partition by c.provider, c.dataset) as newest_slice_date
    from mart_coverage as c
    inner join dim_source as s on c.provider = s.provider and c.dataset = s.dataset
    left join dim_instrument as i on c.instrument_id = i.instrument_id and i.is_current
    where s.grain = 'session'
),

-- Sessions in a row keep the difference between their number and their rank.
missing as (
    select
        *,
        session_number - row_number() over (
            partition by provider, dataset, instrument_id, reason order by slice_start_date
        ) as island
    from cells
    where not is_complete
),

gaps as (
    select
        provider || '/' || dataset as feed,
        instrument_id,
        any_value(symbol) as symbol,
        reason,
        min(slice_start_date) as first_session_date,
        max(slice_start_date) as last_session_date,
        count(*) as session_count,
        max(slice_start_date) = max(newest_slice_date) as is_open
    from missing
    group by provider, dataset, instrument_id, reason, island
)

select
    any_value(symbol) as symbol,
    first_session_date,
    last_session_date,
    session_count,
    reason,
    bool_or(is_open) as is_open,
    string_agg(feed, ', ' order by feed) as feeds,
    count(*) over () as gap_count,
    sum(sum(session_count)) over ()::bigint as missing_bar_count
from gaps
group by instrument_id, first_session_date, last_session_date, session_count, reason
order by last_session_date desc, session_count desc, symbol asc
limit 2000
