with

sources as (

    select * from {{ ref('stg_sources') }}

),

feeds as (

    select
        {{ surrogate_key(['provider', 'dataset']) }} as source_key,
        provider,
        dataset,
        contract,
        endpoint,
        title,
        description,
        delay,
        adjustment,
        licence_note,
        grain,
        is_snapshot,
        priority
    from sources

),

with_unknown as (

    select * from feeds
    union all
    select
        {{ unknown_key() }} as source_key,
        'unknown' as provider,
        'unknown' as dataset,
        'unknown' as contract,
        'unknown' as endpoint,
        'Unknown' as title,
        'Rows whose feed is no longer known.' as description,
        'unknown' as delay,
        'unknown' as adjustment,
        'unknown' as licence_note,
        'unknown' as grain,
        false as is_snapshot,
        null as priority
    from (select 1) as one_row

)

select * from with_unknown
