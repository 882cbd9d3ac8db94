-- One row per thing that happened to a followed instrument from $since to $until: a split or dividend that took
-- effect, a first or last day of listing, a new symbol, a session that a feed lacks, and a bar that a provider
-- corrected on that day (UTC). The first 500.
with followed as (
    select
        instrument_id,
        symbol,
        name,
        listed_date,
        delisted_date
    from dim_instrument
    where is_current and is_followed
),

events as (
    select
        f.symbol,
        a.effective_date as event_date,
        a.action_type as what,
        if(a.action_type = 'split', a.split_ratio, null) as split_ratio,
        if(a.action_type = 'dividend', a.cash_amount::double, null) as cash_amount,
        a.provider as said_by,
        1 as value_count
    from fact_corporate_action as a
    inner join followed as f on a.instrument_id = f.instrument_id
    where a.effective_date between $since and $until
    union all
    select
        symbol,
        unnest([listed_date, delisted_date]) as event_date,
        unnest(['first day of listing', 'last day of listing']) as what,
        null as split_ratio,
        null as cash_amount,
        null as said_by,
        1 as value_count
    from followed
    union all
    select
        f.symbol,
        s.valid_from as event_date,
        'new symbol' as what,
        null as split_ratio,
        null as cash_amount,
        null as said_by,
        1 as value_count
    from dim_symbol_history as s
    inner join followed as f on s.instrument_id = f.instrument_id
    where s.valid_from > coalesce(f.listed_date, date '1900-01-01')
    union all
    select
        f.symbol,
        c.slice_start_date as event_date,
        'no bar: ' || coalesce(nullif(c.reason, ''), c.outcome) as what,
        null as split_ratio,
        null as cash_amount,
        c.provider || '/' || c.dataset as said_by,
        1 as value_count
    from mart_coverage as c
    inner join dim_source as s on c.provider = s.provider and c.dataset = s.dataset
    inner join followed as f on c.instrument_id = f.instrument_id
    where s.grain = 'session' and not c.is_complete
    union all
    select
        f.symbol,
        r.first_seen_at::date as event_date,
        'corrected: ' || r.cadence || ' of ' || r.period_start_date as what,
        null as split_ratio,
        null as cash_amount,
        r.provider as said_by,
        count(*) as value_count
    from mart_restatement as r
    inner join followed as f on r.instrument_id = f.instrument_id
    where r.cause not in ('dividend', 'split')
    group by f.symbol, r.first_seen_at, r.cadence, r.period_start_date, r.provider
)

select * from events
where event_date between $since and $until
order by event_date desc, what asc, symbol asc, said_by asc
limit 500
