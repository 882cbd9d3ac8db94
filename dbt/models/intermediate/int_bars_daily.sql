{%- set keys = column_values(ref('int_changed_slice'), 'object_key', 'is_present') -%}
-- depends_on: {{ ref('stg_bars_daily') }}
with

slices as (

    select * from {{ ref('int_changed_slice') }}

),

feeds as (

    select
        provider,
        dataset,
        bool_or(is_snapshot) as is_snapshot
    from slices
    group by provider, dataset

),

{% if keys -%}
bars as (

    {{ read_lake_files(keys) }}

),
{%- else -%}
bars as (

    select * from {{ ref('stg_bars_daily') }}
    where false

),
{%- endif %}

read_bars as (

    select
        bars.provider,
        bars.dataset,
        feeds.is_snapshot,
        bars.slice_start_date,
        bars.instrument_id,
        bars.symbol,
        bars.session_date,
        bars.price_basis,
        bars.known_at,
        bars.open_usd,
        bars.high_usd,
        bars.low_usd,
        bars.close_usd,
        bars.volume_shares,
        bars.vwap_usd,
        bars.transaction_count,
        bars.adjusted_close_usd,
        bars.dividend_usd,
        bars.split_ratio
    from bars
    inner join feeds
        on
            bars.provider = feeds.provider
            and bars.dataset = feeds.dataset

)

select * from read_bars
