-- A session of which several providers have a current bar is compared, with each of them, and no other is.
with

versions as (

    select * from {{ ref('fact_daily_price_version') }}

),

same_versions as (

    select * from {{ ref('fact_daily_price_version') }}

),

reconciliation as (

    select * from {{ ref('mart_reconciliation') }}

),

contested_sessions as (

    select
        instrument_id,
        session_date
    from same_versions
    where is_current
    group by instrument_id, session_date
    having count(*) > 1

),

expected_rows as (

    select
        versions.instrument_id,
        versions.session_date,
        versions.provider
    from versions
    inner join contested_sessions
        on
            versions.instrument_id = contested_sessions.instrument_id
            and versions.session_date = contested_sessions.session_date
    where versions.is_current

),

compared_rows as (

    select
        instrument_id,
        session_date,
        provider,
        count(*) as measure_count,
        count(distinct winner_provider) as winner_count
    from reconciliation
    group by instrument_id, session_date, provider

),

differences as (

    select
        coalesce(expected_rows.instrument_id, compared_rows.instrument_id) as instrument_id,
        coalesce(expected_rows.session_date, compared_rows.session_date) as session_date,
        coalesce(expected_rows.provider, compared_rows.provider) as provider
    from expected_rows
    full outer join compared_rows
        on
            expected_rows.instrument_id = compared_rows.instrument_id
            and expected_rows.session_date = compared_rows.session_date
            and expected_rows.provider = compared_rows.provider
    where
        expected_rows.instrument_id is null
        or compared_rows.measure_count is distinct from 5
        or compared_rows.winner_count <> 1

)

select * from differences
