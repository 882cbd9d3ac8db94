-- The fact has the weeks that the preferred provider's current versions have, and no other.
with

versions as (

    select * from {{ ref('fact_price_version') }}

),

prices as (

    select * from {{ ref('fact_adjusted_prices') }}

),

ranked_weeks as (

    select
        instrument_id,
        week_start_date,
        provider_rank,
        min(provider_rank) over (partition by instrument_id) as best_rank
    from versions
    where is_current

),

expected_weeks as (

    select * from ranked_weeks
    where provider_rank = best_rank

),

differences as (

    select
        coalesce(expected_weeks.instrument_id, prices.instrument_id) as instrument_id,
        coalesce(expected_weeks.week_start_date, prices.week_start_date) as week_start_date
    from expected_weeks
    full outer join prices
        on
            expected_weeks.instrument_id = prices.instrument_id
            and expected_weeks.week_start_date = prices.week_start_date
    where expected_weeks.instrument_id is null or prices.instrument_id is null

)

select * from differences
