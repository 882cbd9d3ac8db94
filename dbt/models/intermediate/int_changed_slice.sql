with

slices as (

    select * from {{ ref('stg_silver_slices') }}
    where contract = 'bars_daily'

),

sources as (

    select * from {{ ref('stg_sources') }}

),

{% if is_continued() -%}
ledger as (

    select * from {{ before('ledger_silver_slice') }}

),
{%- else -%}
ledger as (

    select
        slices.*,
        cast(null as timestamp with time zone) as last_known_at
    from slices
    where false

),
{%- endif %}

compared_slices as (

    select
        coalesce(slices.object_key, ledger.object_key) as object_key,
        coalesce(slices.provider, ledger.provider) as provider,
        coalesce(slices.dataset, ledger.dataset) as dataset,
        coalesce(slices.slice_start_date, ledger.slice_start_date) as slice_start_date,
        slices.object_key is not null as is_present,
        slices.sha256 is distinct from ledger.sha256 as is_changed,
        ledger.last_known_at
    from slices
    full outer join ledger
        on slices.object_key = ledger.object_key

),

-- A snapshot tells again what earlier ones told, so its rows go on from what was known before it. Where an older one
-- changed, that is no longer known, and all of them are read again.
feeds as (

    select
        provider,
        dataset,
        min(case when is_changed then slice_start_date end) as first_changed_date,
        max(case when not is_changed then slice_start_date end) as last_kept_date,
        max(case when not is_changed then last_known_at end) as last_kept_at
    from compared_slices
    group by provider, dataset

),

judged_slices as (

    select
        compared_slices.object_key,
        compared_slices.provider,
        compared_slices.dataset,
        compared_slices.slice_start_date,
        compared_slices.is_present,
        coalesce(sources.is_snapshot, false) as is_snapshot,
        compared_slices.is_changed,
        coalesce(feeds.first_changed_date < feeds.last_kept_date, false) as is_out_of_order,
        feeds.last_kept_at,
        feeds.first_changed_date
    from compared_slices
    inner join feeds
        on
            compared_slices.provider = feeds.provider
            and compared_slices.dataset = feeds.dataset
    left join sources
        on
            compared_slices.provider = sources.provider
            and compared_slices.dataset = sources.dataset

),

changed_slices as (

    select
        object_key,
        provider,
        dataset,
        slice_start_date,
        is_present,
        is_snapshot,
        case when is_snapshot and not is_out_of_order then last_kept_at end as goes_on_from
    from judged_slices
    where is_changed or (is_snapshot and is_out_of_order and first_changed_date is not null)

)

select * from changed_slices
