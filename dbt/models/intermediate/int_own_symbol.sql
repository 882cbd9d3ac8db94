with

watchlists as (

    select * from {{ ref('stg_watchlist') }}

),

positions as (

    select * from {{ ref('stg_positions') }}

),

symbol_history as (

    select * from {{ ref('dim_symbol_history') }}

),

market_spellings as (

    select * from {{ ref('int_spelling') }}

),

anchors as (

    select * from {{ ref('dim_price_anchor') }}

),

own_symbols as (

    select
        symbol,
        {{ exchange_date('known_at') }} as known_date
    from watchlists
    union
    select
        symbol,
        {{ exchange_date('known_at') }} as known_date
    from positions

),

-- A person may write a symbol as the universe does or as the market's payloads do: BRK-B or BRK.B.
spellings as (

    select
        symbol,
        instrument_id,
        valid_from,
        valid_to,
        1 as spelling_rank
    from symbol_history
    where instrument_id <> 'unknown'
    union all
    select
        symbol,
        instrument_id,
        valid_from,
        valid_to,
        2 as spelling_rank
    from market_spellings

),

matched_symbols as (

    select
        own_symbols.symbol,
        own_symbols.known_date,
        spellings.instrument_id,
        -- Two instruments of one spelling on one day: the one with the newer claim, then any, but always the same.
        row_number() over (
            partition by own_symbols.symbol, own_symbols.known_date
            order by spellings.spelling_rank asc, spellings.valid_from desc, spellings.instrument_id asc
        ) as match_number
    from own_symbols
    inner join spellings
        on
            own_symbols.symbol = spellings.symbol
            and own_symbols.known_date >= spellings.valid_from
            and own_symbols.known_date < coalesce(spellings.valid_to, {{ open_end() }})

),

own_instruments as (

    select
        matched_symbols.symbol,
        matched_symbols.known_date,
        matched_symbols.instrument_id,
        anchors.session_date
    from matched_symbols
    left join anchors
        on matched_symbols.instrument_id = anchors.instrument_id
    where matched_symbols.match_number = 1

)

select * from own_instruments
