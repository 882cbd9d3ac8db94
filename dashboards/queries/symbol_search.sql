-- Up to 12 instruments that somebody may mean by $text: the bearer of that symbol, a former bearer, then symbols that
-- start so and names that hold it; within these the listed before the delisted, the most traded first. `is_exact` says
-- that the first row is the one.
with instruments as (
    select
        instrument_id,
        symbol,
        name,
        is_delisted,
        delisted_date,
        count(*) over (partition by symbol) as bearer_count
    from dim_instrument
    where is_current and instrument_id <> 'unknown'
),

labelled as (
    select
        *,
        if(
            is_delisted and bearer_count > 1,
            symbol || ' (delisted ' || coalesce(delisted_date::varchar, left(instrument_id, 6)) || ')',
            symbol
        ) as label
    from instruments
),

spellings as (
    select
        instrument_id,
        max(valid_from) as valid_from
    from dim_symbol_history
    where upper(symbol) = upper($text)
    group by instrument_id
),

traded as (
    select
        instrument_id,
        max(dollar_volume_usd) as dollar_volume_usd
    from fact_daily_price
    where session_date = (select max(p.session_date) from fact_daily_price as p)
    group by instrument_id
),

ranked as (
    select
        l.instrument_id,
        l.label,
        l.symbol,
        l.name,
        l.is_delisted,
        s.valid_from,
        t.dollar_volume_usd,
        case
            when l.label = $text then 1
            when l.symbol = $text then 2
            when upper(l.symbol) = upper($text) then 3
            when s.instrument_id is not null then 4
            when starts_with(upper(l.symbol), upper($text)) then 5
            when contains(upper(l.name), upper($text)) then 6
        end as match_rank
    from labelled as l
    left join spellings as s on l.instrument_id = s.instrument_id
    left join traded as t on l.instrument_id = t.instrument_id
)

select
    instrument_id,
    label,
    symbol,
    name,
    is_delisted,
    match_rank <= 4 as is_exact,
    match_rank = 4 as is_former
from ranked
where match_rank is not null
order by match_rank asc, is_delisted asc, valid_from desc nulls last, dollar_volume_usd desc nulls last, label asc
limit 12
