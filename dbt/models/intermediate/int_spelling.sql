-- Longer than most models: who had a symbol when is one question with four witnesses.
with

listings as (

    select * from {{ ref('int_listing') }}

),

symbols as (

    select * from {{ ref('stg_symbols') }}

),

instruments as (

    select * from {{ ref('stg_instruments') }}

),

actions as (

    select * from {{ ref('stg_corporate_actions') }}

),

histories as (

    select
        instruments.instrument_id,
        max(symbols.valid_from) as last_valid_from,
        count(symbols.symbol) as spelling_count
    from instruments
    left join symbols
        on instruments.instrument_id = symbols.instrument_id
    group by instruments.instrument_id

),

-- Of a snapshot's answers the newest counts. A ticker that nobody's request named is found by the roster.
ranked_changes as (

    select
        coalesce(actions.instrument_id, listings.instrument_id) as instrument_id,
        actions.symbol as asked_symbol,
        actions.effective_date,
        actions.new_symbol,
        rank() over (
            partition by coalesce(actions.instrument_id, listings.instrument_id)
            order by actions.slice_start_date desc, actions.provider asc, actions.dataset asc
        ) as answer_rank,
        -- One instant has one word on one day's change: `known_at` and `kind` are parts of the key.
        row_number() over (
            partition by
                coalesce(actions.instrument_id, listings.instrument_id),
                actions.slice_start_date,
                actions.provider,
                actions.dataset,
                actions.effective_date
            order by actions.known_at desc, actions.kind asc
        ) as backward_number
    from actions
    left join listings
        on
            case when actions.instrument_id is null then actions.new_symbol end = listings.symbol
            and listings.is_active
    where actions.action_type = 'ticker_change'

),

changes as (

    select
        instrument_id,
        asked_symbol,
        effective_date,
        new_symbol,
        lag(new_symbol) over (partition by instrument_id order by effective_date) as old_symbol,
        max(case when new_symbol = asked_symbol then 1 else 0 end) over (partition by instrument_id) = 1
            as is_whole_history
    from ranked_changes
    where answer_rank = 1 and backward_number = 1 and instrument_id is not null

),

-- A file with a history is right about the time it tells of; a change after that is news to it.
new_changes as (

    select
        changes.*,
        coalesce(histories.spelling_count, 0) > 1 as has_history,
        histories.instrument_id is not null as is_in_universe
    from changes
    left join histories
        on changes.instrument_id = histories.instrument_id
    where
        (coalesce(histories.spelling_count, 0) <= 1 or changes.effective_date > histories.last_valid_from)
        and (changes.old_symbol is null or changes.old_symbol <> changes.new_symbol)

),

-- What each witness says. The lower number is believed where two of them speak of one day.
claims as (

    select
        instrument_id,
        new_symbol as symbol,
        new_symbol as instrument_symbol,
        effective_date as valid_from,
        lead(effective_date) over (partition by instrument_id order by effective_date) as valid_to,
        case when is_in_universe then 0 else 2 end as claim_rank
    from new_changes
    union all
    -- An answer that does not name the symbol it was asked for tells what that one became.
    select
        instrument_id,
        asked_symbol as symbol,
        asked_symbol as instrument_symbol,
        cast('1900-01-01' as date) as valid_from,
        min(effective_date) as valid_to,
        case when is_in_universe then 0 else 2 end as claim_rank
    from new_changes
    where not is_whole_history and not has_history
    group by instrument_id, asked_symbol, is_in_universe
    union all
    select
        symbols.instrument_id,
        symbols.market_symbol as symbol,
        symbols.symbol as instrument_symbol,
        symbols.valid_from,
        symbols.valid_to,
        1 as claim_rank
    from symbols
    union all
    -- An instrument without a history of its own has always had the symbol in force.
    select
        instruments.instrument_id,
        instruments.symbol,
        instruments.symbol as instrument_symbol,
        cast('1900-01-01' as date) as valid_from,
        null as valid_to,
        1 as claim_rank
    from instruments
    inner join histories
        on instruments.instrument_id = histories.instrument_id
    where histories.spelling_count = 0
    union all
    select
        instrument_id,
        symbol,
        symbol as instrument_symbol,
        valid_from,
        valid_to,
        3 as claim_rank
    from listings
    where not is_in_universe

),

-- A listing that has ended takes its symbol with it.
bounded_claims as (

    select
        claims.instrument_id,
        claims.symbol,
        claims.instrument_symbol,
        claims.valid_from,
        least(
            coalesce(claims.valid_to, {{ open_end() }}),
            coalesce({{ add_days('instruments.delisted_date', 1) }}, {{ open_end() }})
        ) as valid_to,
        claims.claim_rank
    from claims
    left join instruments
        on claims.instrument_id = instruments.instrument_id

),

instrument_days as (

    select
        instrument_id,
        valid_from as boundary_date
    from bounded_claims
    where valid_from < valid_to
    union
    select
        instrument_id,
        valid_to as boundary_date
    from bounded_claims
    where valid_from < valid_to

),

instrument_spans as (

    select
        instrument_id,
        boundary_date as valid_from,
        lead(boundary_date) over (partition by instrument_id order by boundary_date) as valid_to
    from instrument_days

),

-- First each instrument by itself: one symbol at a time. Among equals the later beginning counts, then the nearer end.
instrument_claims as (

    select
        instrument_spans.instrument_id,
        instrument_spans.valid_from,
        instrument_spans.valid_to,
        bounded_claims.symbol,
        bounded_claims.instrument_symbol,
        bounded_claims.claim_rank,
        row_number() over (
            partition by instrument_spans.instrument_id, instrument_spans.valid_from
            order by
                bounded_claims.claim_rank asc,
                bounded_claims.valid_from desc,
                bounded_claims.valid_to asc,
                bounded_claims.symbol asc
        ) as claim_number
    from instrument_spans
    inner join bounded_claims
        on
            instrument_spans.instrument_id = bounded_claims.instrument_id
            and instrument_spans.valid_from >= bounded_claims.valid_from
            and instrument_spans.valid_to <= bounded_claims.valid_to

),

symbol_days as (

    select
        symbol,
        valid_from as boundary_date
    from instrument_claims
    where claim_number = 1
    union
    select
        symbol,
        valid_to as boundary_date
    from instrument_claims
    where claim_number = 1

),

symbol_spans as (

    select
        symbol,
        boundary_date as valid_from,
        lead(boundary_date) over (partition by symbol order by boundary_date) as valid_to
    from symbol_days

),

-- Then each symbol by itself: one instrument at a time.
symbol_claims as (

    select
        symbol_spans.symbol,
        symbol_spans.valid_from,
        symbol_spans.valid_to,
        instrument_claims.instrument_id,
        instrument_claims.instrument_symbol,
        row_number() over (
            partition by symbol_spans.symbol, symbol_spans.valid_from
            order by
                instrument_claims.claim_rank asc,
                instrument_claims.valid_from desc,
                instrument_claims.instrument_id asc
        ) as claim_number
    from symbol_spans
    inner join instrument_claims
        on
            symbol_spans.symbol = instrument_claims.symbol
            and symbol_spans.valid_from >= instrument_claims.valid_from
            and symbol_spans.valid_to <= instrument_claims.valid_to
            and instrument_claims.claim_number = 1

),

-- Spans that the boundaries of others cut are one spelling again.
marked_spans as (

    select
        *,
        case
            when
                valid_from = lag(valid_to) over (
                    partition by symbol, instrument_id, instrument_symbol order by valid_from
                )
                then 0
            else 1
        end as is_new
    from symbol_claims
    where claim_number = 1

),

numbered_spans as (

    select
        *,
        sum(is_new) over (
            partition by symbol, instrument_id, instrument_symbol
            order by valid_from
            rows between unbounded preceding and current row
        ) as spelling_number
    from marked_spans

),

spellings as (

    select
        numbered_spans.symbol,
        numbered_spans.instrument_symbol,
        min(numbered_spans.valid_from) as valid_from,
        nullif(max(numbered_spans.valid_to), {{ open_end() }}) as valid_to,
        numbered_spans.instrument_id,
        case when max(instruments.instrument_id) is null then 'roster' else 'universe' end as identity_source
    from numbered_spans
    left join instruments
        on numbered_spans.instrument_id = instruments.instrument_id
    group by
        numbered_spans.symbol,
        numbered_spans.instrument_symbol,
        numbered_spans.instrument_id,
        numbered_spans.spelling_number

)

select * from spellings
