-- depends_on: {{ ref('fact_daily_price_version') }}
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

)

select * from spellings
