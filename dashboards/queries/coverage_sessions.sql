-- One row per session feed and session: how many of the followed instruments have a bar; the newest 30 sessions.
select
    c.provider,
    c.dataset,
    c.slice_start_date,
    count(*) as expected_count,
    count(*) filter (where c.is_complete) as complete_count,
    avg(c.is_complete::integer) as complete_ratio,
    string_agg(
        coalesce(i.symbol, c.symbol) || ' ' || coalesce(nullif(c.reason, ''), c.outcome),
        ', ' order by coalesce(i.symbol, c.symbol)
    )
    filter (where not c.is_complete)
        as absent
from mart_coverage as c
inner join dim_source as s on c.provider = s.provider and c.dataset = s.dataset
left join dim_instrument as i on c.instrument_id = i.instrument_id and i.is_current
where s.grain = 'session'
group by c.provider, c.dataset, c.slice_start_date
qualify dense_rank() over (order by c.slice_start_date desc) <= 30
order by c.slice_start_date, c.provider, c.dataset
