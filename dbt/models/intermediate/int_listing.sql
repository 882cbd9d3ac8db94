-- Longer than most models: whose a ticker is can only be told from all of its listings at once.
with

tickers as (

    select * from {{ ref('stg_tickers') }}

),

symbols as (

    select * from {{ ref('stg_symbols') }}

),

instruments as (

    select * from {{ ref('stg_instruments') }}

),

-- A provider's present word on an identity is that of the newest roster that names it: a date that it corrected would
-- else be a second listing. One that fell out of the roster, or was on a page that did not come, is as it was.
newest_slices as (

    select
        provider,
        symbol,
        identity,
        max(slice_start_date) as slice_start_date,
        min(known_at) as first_known_at
    from tickers
    group by provider, symbol, identity

),

present_listings as (

    select
        tickers.*,
        newest_slices.first_known_at,
        -- Two words on one listing at one instant can't be: `known_at` is part of the key. Between providers the name
        -- decides, so that every build says the same.
        row_number() over (
            partition by tickers.symbol, tickers.identity, tickers.listing
            order by tickers.slice_start_date desc, tickers.known_at desc, tickers.provider asc
        ) as backward_number
    from tickers
    inner join newest_slices
        on
            tickers.provider = newest_slices.provider
            and tickers.symbol = newest_slices.symbol
            and tickers.identity = newest_slices.identity
            and tickers.slice_start_date = newest_slices.slice_start_date

),

-- A ticker is listed once at a time: the newest roster says for whom. Of equally new words the one with a FIGI counts,
-- then the alphabet.
numbered_listings as (

    select
        *,
        row_number() over (
            partition by symbol, listing
            order by
                slice_start_date desc,
                case when composite_figi is null then 1 else 0 end asc,
                identity asc
        ) as owner_number
    from present_listings
    where backward_number = 1

),

ordered_listings as (

    select
        *,
        lag(delisted_date) over (
            partition by symbol order by is_active asc, delisted_date asc
        ) as earlier_delisted_date,
        -- A share that changed its ticker keeps its FIGI: of several tickers the later ones begin when we first saw
        -- them.
        case when composite_figi is not null then min(first_known_at) over (partition by composite_figi) end
            as first_figi_known_at
    from numbered_listings
    where owner_number = 1 and (is_active or delisted_date is not null)

),

-- The roster does not say when a listing began, only when the one before it ended.
periods as (

    select
        *,
        greatest(
            coalesce({{ add_days('earlier_delisted_date', 1) }}, cast('1900-01-01' as date)),
            case
                when first_known_at > first_figi_known_at and is_active then {{ exchange_date('first_known_at') }}
                else cast('1900-01-01' as date)
            end
        ) as valid_from,
        case when not is_active then {{ add_days('delisted_date', 1) }} end as valid_to,
        case when is_active then {{ exchange_date('known_at') }} else delisted_date end as seen_date
    from ordered_listings

),

-- What the universe's file names, it names best: a listing on a day on which one of its instruments had the symbol is
-- that instrument. Vendors date a delisting up to some days late.
universe_spellings as (

    select
        symbols.instrument_id,
        symbols.market_symbol as symbol,
        symbols.valid_from,
        least(
            coalesce(symbols.valid_to, {{ open_end() }}),
            coalesce({{ add_days('instruments.delisted_date', 1) }}, {{ open_end() }})
        ) as valid_to
    from symbols
    left join instruments
        on symbols.instrument_id = instruments.instrument_id
    union all
    select
        instruments.instrument_id,
        instruments.symbol,
        cast('1900-01-01' as date) as valid_from,
        coalesce({{ add_days('instruments.delisted_date', 1) }}, {{ open_end() }}) as valid_to
    from instruments
    left join symbols
        on instruments.instrument_id = symbols.instrument_id
    where symbols.instrument_id is null

),

known_listings as (

    select
        periods.symbol,
        periods.identity,
        periods.listing,
        periods.composite_figi,
        max_by(universe_spellings.instrument_id, universe_spellings.valid_from) as instrument_id
    from periods
    inner join universe_spellings
        on
            periods.symbol = universe_spellings.symbol
            and periods.seen_date >= universe_spellings.valid_from
            and periods.seen_date
            < {{ add_days('universe_spellings.valid_to', 'case when periods.is_active then 0 else 10 end') }}
    group by periods.symbol, periods.identity, periods.listing, periods.composite_figi

),

known_shares as (

    select
        composite_figi,
        min(instrument_id) as instrument_id
    from known_listings
    where composite_figi is not null
    group by composite_figi

),

identified_listings as (

    select
        coalesce(
            known_listings.instrument_id,
            known_shares.instrument_id,
            case
                when periods.composite_figi is not null
                    then {{ instrument_id_of(["'figi'", 'periods.composite_figi']) }}
                -- One issuer has several shares, so its number alone names none of them.
                when periods.identity <> ''
                    then {{ instrument_id_of(["'issuer'", 'periods.identity', 'periods.symbol']) }}
                else {{ instrument_id_of(["'ticker'", 'periods.symbol', 'periods.valid_from']) }}
            end
        ) as instrument_id,
        coalesce(known_listings.instrument_id, known_shares.instrument_id) is not null as is_in_universe,
        periods.provider,
        periods.symbol,
        periods.identity,
        periods.listing,
        periods.valid_from,
        periods.valid_to,
        periods.is_active,
        periods.delisted_date,
        periods.known_at
    from periods
    left join known_listings
        on
            periods.symbol = known_listings.symbol
            and periods.identity = known_listings.identity
            and periods.listing = known_listings.listing
    left join known_shares
        on periods.composite_figi = known_shares.composite_figi

)

select * from identified_listings
