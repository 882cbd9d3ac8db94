with

spellings as (

    select
        symbol,
        instrument_symbol,
        instrument_id,
        identity_source,
        valid_from,
        valid_to
    from {{ ref('int_spelling') }}

),

instruments as (

    select
        instrument_id,
        instrument_key,
        symbol,
        valid_from,
        valid_to
    from {{ ref('int_instrument_version') }}

),

{% if is_continued() -%}
known_spellings as (

    select
        symbol,
        instrument_symbol,
        instrument_id,
        identity_source,
        valid_from,
        valid_to
    from {{ before('ledger_spelling') }}

),

known_instruments as (

    select
        instrument_id,
        instrument_key,
        symbol,
        valid_from,
        valid_to
    from {{ before('dim_instrument') }}
    where identity_source in ('universe', 'roster')

),

changed_spellings as (

    (select * from spellings
    except
    select * from known_spellings)
    union all
    (select * from known_spellings
    except
    select * from spellings)

),

changed_instruments as (

    (select * from instruments
    except
    select * from known_instruments)
    union all
    (select * from known_instruments
    except
    select * from instruments)

),

changed_identities as (

    select
        symbol,
        cast(null as varchar) as instrument_id
    from changed_spellings
    union
    select
        cast(null as varchar) as symbol,
        instrument_id
    from changed_spellings
    union
    select
        cast(null as varchar) as symbol,
        instrument_id
    from changed_instruments

)
{%- else -%}
-- Without a build before this one everything is new.
changed_identities as (

    select
        spellings.symbol,
        instruments.instrument_id
    from spellings
    cross join instruments
    where false

)
{%- endif %}

select * from changed_identities
