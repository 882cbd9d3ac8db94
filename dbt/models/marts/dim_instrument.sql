with

instruments as (

    select * from {{ ref('stg_instruments') }}

),

profiles as (

    select * from {{ ref('stg_company_profile') }}

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

-- One provider speaks for an instrument, so that two vendors' spellings do not take turns.
ranked_profiles as (

    select
        profiles.instrument_id,
        profiles.provider,
        profiles.known_at,
        profiles.bronze_sha256,
        nullif(trim(profiles.name), '') as name,
        {{ title_case('profiles.sector') }} as sector,
        {{ title_case('profiles.industry') }} as industry,
        nullif(trim(profiles.exchange), '') as exchange,
        upper(nullif(trim(profiles.currency), '')) as currency,
        rank() over (
            partition by profiles.instrument_id
            order by priorities.priority nulls last, profiles.provider
        ) as provider_rank
    from profiles
    left join priorities
        on profiles.provider = priorities.provider

),

-- A value that a later profile lacks is not a change: the last one known stands.
carried_profiles as (

    select
        instrument_id,
        provider,
        {{ last_known('name', 'partition by instrument_id order by known_at') }} as name,
        {{ last_known('sector', 'partition by instrument_id order by known_at') }} as sector,
        {{ last_known('industry', 'partition by instrument_id order by known_at') }} as industry,
        {{ last_known('exchange', 'partition by instrument_id order by known_at') }} as exchange,
        {{ last_known('currency', 'partition by instrument_id order by known_at') }} as currency,
        {{ exchange_date('known_at') }} as known_date,
        -- Several on one day: the last one counts. `known_at` is part of the contract's key, so there is no tie.
        row_number() over (
            partition by instrument_id, {{ exchange_date('known_at') }} order by known_at desc
        ) as backward_number
    from ranked_profiles
    where provider_rank = 1

),

attributes as (

    select
        instruments.instrument_id,
        profiles.known_date,
        instruments.asset_class,
        coalesce(profiles.name, instruments.name) as name,
        coalesce(profiles.exchange, instruments.exchange) as exchange,
        coalesce(profiles.currency, instruments.currency) as currency,
        coalesce(profiles.sector, {{ title_case('instruments.sector') }}) as sector,
        coalesce(profiles.industry, {{ title_case('instruments.industry') }}) as industry,
        coalesce(profiles.provider, 'universe') as attribute_source
    from instruments
    left join carried_profiles as profiles
        on
            instruments.instrument_id = profiles.instrument_id
            and profiles.backward_number = 1

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
        instruments.symbol,
        bounded_versions.name,
        bounded_versions.asset_class,
        bounded_versions.exchange,
        bounded_versions.currency,
        bounded_versions.sector,
        bounded_versions.industry,
        bounded_versions.valid_from,
        bounded_versions.valid_to,
        bounded_versions.valid_to is null as is_current,
        instruments.listed_date,
        instruments.delisted_date,
        coalesce(instruments.delisted_date < {{ exchange_date('build.as_of') }}, false) as is_delisted,
        bounded_versions.attribute_source
    from bounded_versions
    inner join instruments
        on bounded_versions.instrument_id = instruments.instrument_id
    cross join build

),

with_unknown as (

    select * from versions
    union all
    select
        {{ unknown_key() }} as instrument_key,
        'unknown' as instrument_id,
        'unknown' as symbol,
        'Unknown' as name,
        'unknown' as asset_class,
        'unknown' as exchange,
        'unknown' as currency,
        null as sector,
        null as industry,
        cast('1900-01-01' as date) as valid_from,
        null as valid_to,
        true as is_current,
        null as listed_date,
        null as delisted_date,
        false as is_delisted,
        'none' as attribute_source
    from (select 1) as one_row

)

select * from with_unknown
