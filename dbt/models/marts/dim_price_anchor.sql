with

prices as (

    select * from {{ ref('fact_daily_price') }}

),

anchors as (

    select
        instrument_id,
        max(session_date) as session_date,
        max_by(split_factor, session_date) as split_factor,
        max_by(total_factor, session_date) as total_factor
    from prices
    group by instrument_id

)

select * from anchors
