{%- set values = [
    'instrument_key', 'source_key', 'symbol', 'provider_rank', 'open_usd', 'high_usd', 'low_usd', 'close_usd', 'volume_shares', 'vwap_usd',
    'transaction_count', 'adjusted_close_usd', 'dividend_usd', 'split_ratio', 'known_from', 'known_to',
    'identity_source', 'source_symbol', 'source_instrument_id'
] -%}
with

versions as (

    select * from {{ ref('int_daily_price_version') }}

),

stored_versions as (

    select * from {{ ref('int_stored_price_version') }}

),

{% if is_continued() -%}
-- The key holds provider, feed, instrument, session and number, so these need no comparison.
changes as (

    select
        coalesce(versions.daily_price_version_key, stored_versions.daily_price_version_key) as changed_key,
        coalesce(versions.instrument_id, stored_versions.instrument_id) as changed_instrument_id,
        coalesce(versions.session_date, stored_versions.session_date) as changed_session_date,
        stored_versions.daily_price_version_key is not null as is_stored,
        versions.*
    from versions
    full outer join stored_versions
        on versions.daily_price_version_key = stored_versions.daily_price_version_key
    where
        versions.daily_price_version_key is null
        or stored_versions.daily_price_version_key is null
        {%- for value in values %}
        or versions.{{ value }} is distinct from stored_versions.{{ value }}
        {%- endfor %}

)
{%- else -%}
-- Without a build before this one nothing is compared: all versions are new.
changes as (

    select
        versions.daily_price_version_key as changed_key,
        versions.instrument_id as changed_instrument_id,
        versions.session_date as changed_session_date,
        false as is_stored,
        versions.*
    from versions
    cross join stored_versions
    where false

)
{%- endif %}

select * from changes
