-- depends_on: {{ ref('int_bars_daily') }}
with

slices as (

    select * from {{ ref('int_changed_slice') }}

),

identities as (

    select * from {{ ref('int_changed_identity') }}

),

bars as (

    select * from {{ ref('int_bars_daily') }}

),

{% if is_continued() -%}
versions as (

    select * from {{ before('fact_daily_price_version') }}

),

-- A session's file holds all that its feed says of the session.
changed_sessions as (

    select
        provider,
        dataset,
        slice_start_date as session_date
    from slices
    where not is_snapshot
    group by provider, dataset, slice_start_date

),

changed_snapshots as (

    select
        slices.provider,
        slices.dataset,
        max(slices.goes_on_from) as goes_on_from,
        min(first_sessions.session_date) as first_session_date
    from slices
    left join (
        select
            provider,
            dataset,
            min(session_date) as session_date
        from bars
        where price_basis = 'raw'
        group by provider, dataset
    ) as first_sessions
        on
            slices.provider = first_sessions.provider
            and slices.dataset = first_sessions.dataset
    where slices.is_snapshot
    group by slices.provider, slices.dataset

),

of_sessions as (

    select
        versions.*,
        'replaced' as role,
        cast(null as timestamp with time zone) as goes_on_from
    from versions
    inner join changed_sessions
        on
            versions.provider = changed_sessions.provider
            and versions.dataset = changed_sessions.dataset
            and versions.session_date = changed_sessions.session_date

),

judged_of_snapshots as (

    select
        versions.*,
        case
            when versions.known_from <= changed_snapshots.goes_on_from then 'continued'
            else 'replaced'
        end as role,
        changed_snapshots.goes_on_from
    from versions
    inner join changed_snapshots
        on
            versions.provider = changed_snapshots.provider
            and versions.dataset = changed_snapshots.dataset
    where
        changed_snapshots.goes_on_from is null
        or versions.known_from > changed_snapshots.goes_on_from
        or versions.known_to > changed_snapshots.goes_on_from
        or versions.session_date >= changed_snapshots.first_session_date

),

-- Of what was known before the changed snapshots only the last version of a session goes on.
numbered_of_snapshots as (

    select
        *,
        row_number() over (
            partition by provider, dataset, instrument_id, session_date, role order by version_number desc
        ) as backward_number
    from judged_of_snapshots

),

of_snapshots as (

    select * exclude (backward_number)
    from numbered_of_snapshots
    where role = 'replaced' or backward_number = 1

),

of_changes as (

    select * from of_sessions
    union all
    select * from of_snapshots

),

changed_symbols as (

    select symbol from identities
    where symbol is not null

),

changed_instruments as (

    select instrument_id from identities
    where instrument_id is not null

),

of_identities as (

    select
        versions.*,
        'renamed' as role,
        cast(null as timestamp with time zone) as goes_on_from
    from versions
    left join of_changes
        on versions.daily_price_version_key = of_changes.daily_price_version_key
    where
        of_changes.daily_price_version_key is null
        and (
            (versions.source_instrument_id is null and versions.source_symbol in (select symbol from changed_symbols))
            or versions.instrument_id in (select instrument_id from changed_instruments)
        )

),

stored_versions as (

    select * from of_changes
    union all
    select * from of_identities

)
{%- else -%}
stored_versions as (

    select slices.provider
    from slices
    cross join identities
    cross join bars
    where false

)
{%- endif %}

select * from stored_versions
