with

known_spellings as (

    select * from {{ ref('int_spelling') }}

),

price_versions as (

    select * from {{ ref('fact_daily_price_version') }}

),

instruments as (

    select * from {{ ref('dim_instrument') }}

),

current_instruments as (

    select * from instruments
    where is_current

),

stranger_sessions as (

    select
        instrument_id,
        source_symbol as symbol,
        session_date
    from price_versions
    where identity_source = 'symbol'
    group by instrument_id, source_symbol, session_date

),

-- A symbol that nobody known has on a day is the stranger's from the last known owner's end to the next one's
-- beginning.
stranger_bounds as (

    select
        stranger_sessions.instrument_id,
        stranger_sessions.symbol,
        stranger_sessions.session_date,
        max(
            case when known_spellings.valid_to <= stranger_sessions.session_date then known_spellings.valid_to end
        ) as valid_from,
        min(
            case when known_spellings.valid_from > stranger_sessions.session_date then known_spellings.valid_from end
        ) as valid_to
    from stranger_sessions
    left join known_spellings
        on stranger_sessions.symbol = known_spellings.symbol
    group by stranger_sessions.instrument_id, stranger_sessions.symbol, stranger_sessions.session_date

),

spellings as (

    select
        instrument_id,
        instrument_symbol as symbol,
        valid_from,
        valid_to
    from known_spellings
    union all
    select
        instrument_id,
        symbol,
        coalesce(valid_from, cast('1900-01-01' as date)) as valid_from,
        valid_to
    from stranger_bounds
    group by instrument_id, symbol, valid_from, valid_to
    union all
    select
        instrument_id,
        symbol,
        valid_from,
        valid_to
    from current_instruments
    where instrument_id = 'unknown'

),

keyed_spellings as (

    select
        case
            when spellings.instrument_id = 'unknown' then {{ unknown_key() }}
            else {{ surrogate_key(['spellings.instrument_id', 'spellings.symbol', 'spellings.valid_from']) }}
        end as symbol_history_key,
        spellings.instrument_id,
        coalesce(current_instruments.instrument_key, {{ unknown_key() }}) as instrument_key,
        spellings.symbol,
        spellings.valid_from,
        spellings.valid_to,
        spellings.valid_to is null as is_current
    from spellings
    left join current_instruments
        on spellings.instrument_id = current_instruments.instrument_id

)

select * from keyed_spellings
