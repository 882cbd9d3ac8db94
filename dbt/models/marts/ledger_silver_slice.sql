-- depends_on: {{ ref('fact_daily_price_version') }}
with

slices as (

    select * from {{ ref('stg_silver_slices') }}
    where contract = 'bars_daily'

),

bars as (

    select * from {{ ref('int_bars_daily') }}

),

read_slices as (

    select
        provider,
        dataset,
        slice_start_date,
        count(*) as row_count,
        count(case when price_basis = 'raw' then 1 end) as raw_row_count,
        max(known_at) as last_known_at
    from bars
    group by provider, dataset, slice_start_date

),

{% if is_continued() -%}
known_slices as (

    select * from {{ before('ledger_silver_slice') }}

),
{%- else -%}
known_slices as (

    select
        slices.*,
        cast(null as bigint) as row_count,
        cast(null as bigint) as raw_row_count,
        cast(null as timestamp with time zone) as last_known_at
    from slices
    where false

),
{%- endif %}

entries as (

    select
        slices.object_key,
        slices.sha256,
        slices.bytes,
        slices.contract,
        slices.provider,
        slices.dataset,
        slices.slice_start_date,
        case
            when known_slices.object_key is null then coalesce(read_slices.row_count, 0)
            else known_slices.row_count
        end as row_count,
        case
            when known_slices.object_key is null then coalesce(read_slices.raw_row_count, 0)
            else known_slices.raw_row_count
        end as raw_row_count,
        case
            when known_slices.object_key is null then read_slices.last_known_at
            else known_slices.last_known_at
        end as last_known_at
    from slices
    left join known_slices
        on
            slices.object_key = known_slices.object_key
            and slices.sha256 = known_slices.sha256
    left join read_slices
        on
            slices.provider = read_slices.provider
            and slices.dataset = read_slices.dataset
            and slices.slice_start_date = read_slices.slice_start_date

)

select * from entries
