with

quarantine as (

    select * from {{ ref('stg_quarantine') }}

),

rejected_rows as (

    select
        {{ surrogate_key(['bronze_key', 'slice_start_date', 'rule', 'row_json']) }} as quarantine_key,
        provider,
        dataset,
        slice_start_date,
        instrument_id,
        symbol,
        rule,
        row_json,
        bronze_key,
        known_at
    from quarantine

)

select * from rejected_rows
