with

symbols as (

    select * from {{ ref('stg_symbols') }}

),

instruments as (

    select * from {{ ref('dim_instrument') }}

),

current_instruments as (

    select * from instruments
    where is_current

),

-- An instrument without a history of its own has always had the symbol in force.
spellings as (

    select
        instrument_id,
        symbol,
        valid_from,
        valid_to
    from symbols
    union all
    select
        current_instruments.instrument_id,
        current_instruments.symbol,
        cast('1900-01-01' as date) as valid_from,
        null as valid_to
    from current_instruments
    left join symbols
        on current_instruments.instrument_id = symbols.instrument_id
    where symbols.instrument_id is null

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
