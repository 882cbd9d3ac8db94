-- Longer than most models: one timeline out of three kinds of words on an instrument.
with

instruments as (

    select * from {{ ref('stg_instruments') }}

),

profiles as (

    select * from {{ ref('stg_company_profile') }}

),

tickers as (

    select * from {{ ref('stg_tickers') }}

),

listings as (

    select * from {{ ref('int_listing') }}

),

spellings as (

    select * from {{ ref('int_spelling') }}

),

sources as (

    select * from {{ ref('stg_sources') }}

),

build as (

    select * from {{ ref('stg_build') }}

),

priorities as (

    select
        provider,
        min(priority) as priority
    from sources
    where contract = 'company_profile'
    group by provider

),

-- What the roster says of a share, by who it is now. Without an identity only the present listing is surely the
-- share's.
roster_words as (

    select
        listings.instrument_id,
        tickers.provider,
        tickers.known_at,
        tickers.bronze_sha256,
        nullif(trim(tickers.name), '') as name,
        cast(null as varchar) as sector,
        cast(null as varchar) as industry,
        {{ exchange_name('tickers.primary_exchange') }} as exchange,
        tickers.currency,
        {{ asset_class_of('tickers.ticker_type') }} as asset_class,
        -- A share may have several listings: the one that goes on speaks for it, else the last one.
        rank() over (
            partition by listings.instrument_id
            order by
                listings.is_active desc,
                listings.delisted_date desc,
                listings.known_at desc,
                listings.symbol asc,
                tickers.provider asc
        ) as listing_rank
    from listings
    inner join tickers
        on
            listings.symbol = tickers.symbol
            and listings.identity = tickers.identity
            and (listings.listing = tickers.listing or (tickers.is_active and tickers.identity <> ''))

),

present_words as (

    select
        *,
        row_number() over (
            partition by instrument_id order by known_at desc, provider asc, bronze_sha256 asc
        ) as backward_number
    from roster_words
    where listing_rank = 1

),

roster as (

    select
        instrument_id,
        name,
        exchange,
        currency,
        asset_class
    from present_words
    where backward_number = 1

),

-- One witness speaks for an instrument, so that two vendors' spellings do not take turns: the best provider of profiles
-- that has one, else the roster.
words as (

    select
        profiles.instrument_id,
        profiles.provider,
        profiles.known_at,
        nullif(trim(profiles.name), '') as name,
        {{ title_case('profiles.sector') }} as sector,
        {{ title_case('profiles.industry') }} as industry,
        nullif(trim(profiles.exchange), '') as exchange,
        upper(nullif(trim(profiles.currency), '')) as currency,
        cast(null as varchar) as asset_class,
        0 as kind_rank,
        priorities.priority
    from profiles
    left join priorities
        on profiles.provider = priorities.provider
    union all
    select
        instrument_id,
        provider,
        known_at,
        name,
        sector,
        industry,
        exchange,
        currency,
        asset_class,
        1 as kind_rank,
        null as priority
    from roster_words
    where listing_rank = 1

),

ranked_words as (

    select
        *,
        rank() over (
            partition by instrument_id order by kind_rank asc, priority asc nulls last, provider asc
        ) as witness_rank
    from words

),

-- A value that a later word lacks is not a change: the last one known stands.
carried_words as (

    select
        instrument_id,
        provider,
        {{ last_known('name', 'partition by instrument_id order by known_at') }} as name,
        {{ last_known('sector', 'partition by instrument_id order by known_at') }} as sector,
        {{ last_known('industry', 'partition by instrument_id order by known_at') }} as industry,
        {{ last_known('exchange', 'partition by instrument_id order by known_at') }} as exchange,
        {{ last_known('currency', 'partition by instrument_id order by known_at') }} as currency,
        {{ last_known('asset_class', 'partition by instrument_id order by known_at') }} as asset_class,
        {{ exchange_date('known_at') }} as known_date,
        -- Several on one day: the last one counts. Of two tickers of a share that were read at one instant, either: the
        -- witness's own attributes are the share's.
        row_number() over (
            partition by instrument_id, {{ exchange_date('known_at') }} order by known_at desc
        ) as backward_number
    from ranked_words
    where witness_rank = 1

),

ends as (

    select
        instrument_id,
        max_by(symbol, known_at) as symbol,
        case when not bool_or(is_active) then max(delisted_date) end as delisted_date
    from listings
    group by instrument_id

),

names as (

    select
        spellings.instrument_id,
        max_by(spellings.instrument_symbol, spellings.valid_from) as symbol
    from spellings
    cross join build
    where spellings.valid_from <= {{ exchange_date('build.as_of') }}
    group by spellings.instrument_id

),

-- Everybody that a file or a roster names.
members as (

    select
        coalesce(instruments.instrument_id, ends.instrument_id) as instrument_id,
        coalesce(names.symbol, instruments.symbol, ends.symbol) as symbol,
        coalesce(roster.name, instruments.name) as name,
        coalesce(instruments.asset_class, roster.asset_class, 'unknown') as asset_class,
        coalesce(roster.exchange, instruments.exchange, 'unknown') as exchange,
        coalesce(roster.currency, instruments.currency, 'USD') as currency,
        {{ title_case('instruments.sector') }} as sector,
        {{ title_case('instruments.industry') }} as industry,
        instruments.listed_date,
        coalesce(instruments.delisted_date, ends.delisted_date) as delisted_date,
        coalesce(instruments.is_followed, false) as is_followed,
        case when instruments.instrument_id is null then 'roster' else 'universe' end as identity_source,
        instruments.asset_class as universe_asset_class
    from instruments
    full outer join ends
        on instruments.instrument_id = ends.instrument_id
    left join names
        on coalesce(instruments.instrument_id, ends.instrument_id) = names.instrument_id
    left join roster
        on coalesce(instruments.instrument_id, ends.instrument_id) = roster.instrument_id

),

attributes as (

    select
        members.instrument_id,
        carried_words.known_date,
        coalesce(members.universe_asset_class, carried_words.asset_class, members.asset_class) as asset_class,
        coalesce(members.universe_asset_class, carried_words.asset_class, members.asset_class) in (
            'etf', 'fund', 'index'
        ) as is_collective,
        coalesce(carried_words.name, members.name) as name,
        coalesce(carried_words.exchange, members.exchange) as exchange,
        coalesce(carried_words.currency, members.currency) as currency,
        -- A vendor's profile of a fund names its manager's sector.
        case when not is_collective then coalesce(carried_words.sector, members.sector) end as sector,
        case when not is_collective then coalesce(carried_words.industry, members.industry) end as industry,
        coalesce(carried_words.provider, members.identity_source) as attribute_source
    from members
    left join carried_words
        on
            members.instrument_id = carried_words.instrument_id
            and carried_words.backward_number = 1

),

marked_attributes as (

    select
        *,
        row_number() over in_time = 1 as is_first,
        (
            name is not distinct from lag(name) over in_time
            and sector is not distinct from lag(sector) over in_time
            and industry is not distinct from lag(industry) over in_time
            and exchange is not distinct from lag(exchange) over in_time
            and currency is not distinct from lag(currency) over in_time
            and asset_class is not distinct from lag(asset_class) over in_time
        ) as is_same
    from attributes
    window in_time as (partition by instrument_id order by known_date)

),

-- History does not begin at our first fetch: the first version is in force from 1900 on.
openings as (

    select
        *,
        case when is_first then cast('1900-01-01' as date) else known_date end as valid_from
    from marked_attributes
    where is_first or not is_same

),

bounded_versions as (

    select
        *,
        lead(valid_from) over (partition by instrument_id order by valid_from) as valid_to
    from openings

),

versions as (

    select
        {{ surrogate_key(['bounded_versions.instrument_id', 'bounded_versions.valid_from']) }} as instrument_key,
        bounded_versions.instrument_id,
        members.symbol,
        bounded_versions.name,
        bounded_versions.asset_class,
        bounded_versions.exchange,
        bounded_versions.currency,
        bounded_versions.sector,
        bounded_versions.industry,
        bounded_versions.valid_from,
        bounded_versions.valid_to,
        bounded_versions.valid_to is null as is_current,
        members.listed_date,
        members.delisted_date,
        coalesce(members.delisted_date < {{ exchange_date('build.as_of') }}, false) as is_delisted,
        members.is_followed,
        members.identity_source,
        bounded_versions.attribute_source
    from bounded_versions
    inner join members
        on bounded_versions.instrument_id = members.instrument_id
    cross join build

)

select * from versions
