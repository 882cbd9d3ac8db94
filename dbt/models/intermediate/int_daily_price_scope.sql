{%- set values = [
    'instrument_key', 'symbol', 'provider', 'source_key', 'provider_count', 'agreeing_provider_count', 'open_usd',
    'high_usd', 'low_usd', 'close_usd', 'volume_shares', 'vwap_usd', 'transaction_count'
] -%}
with

changes as (

    select * from {{ ref('int_daily_price_change') }}

),

versions as (

    select * from {{ ref('fact_daily_price_version') }}
    where is_current

),

actions as (

    select * from {{ ref('fact_corporate_action') }}

),

{% if is_continued() -%}
stored_prices as (

    select * from {{ before('fact_daily_price') }}

),

stored_actions as (

    select * from {{ before('fact_corporate_action') }}

),

changed_sessions as (

    select
        changed_instrument_id as instrument_id,
        changed_session_date as session_date
    from changes
    group by changed_instrument_id, changed_session_date

),

candidates as (

    select versions.*
    from versions
    inner join changed_sessions
        on
            versions.instrument_id = changed_sessions.instrument_id
            and versions.session_date = changed_sessions.session_date

),

{{ winning_bars('candidates') }},

stored_bars as (

    select stored_prices.*
    from stored_prices
    inner join changed_sessions
        on
            stored_prices.instrument_id = changed_sessions.instrument_id
            and stored_prices.session_date = changed_sessions.session_date

),

-- A version that changed need not be the one that wins, nor differ where it counts.
changed_bars as (

    select
        coalesce(winning_bars.instrument_id, stored_bars.instrument_id) as instrument_id,
        coalesce(winning_bars.session_date, stored_bars.session_date) as first_date
    from winning_bars
    full outer join stored_bars
        on
            winning_bars.instrument_id = stored_bars.instrument_id
            and winning_bars.session_date = stored_bars.session_date
    where
        winning_bars.instrument_id is null
        or stored_bars.instrument_id is null
        {%- for value in values %}
        or winning_bars.{{ value }} is distinct from stored_bars.{{ value }}
        {%- endfor %}

),

told_actions as (

    select
        corporate_action_key,
        instrument_id,
        first_session_date,
        split_ratio,
        cash_amount,
        currency
    from actions

),

known_actions as (

    select
        corporate_action_key,
        instrument_id,
        first_session_date,
        split_ratio,
        cash_amount,
        currency
    from stored_actions

),

changed_actions as (

    (select * from told_actions
    except
    select * from known_actions)
    union all
    (select * from known_actions
    except
    select * from told_actions)

),

first_dates as (

    select
        instrument_id,
        first_date
    from changed_bars
    union all
    select
        instrument_id,
        first_session_date as first_date
    from changed_actions

),

scope as (

    select
        instrument_id,
        min(first_date) as first_date
    from first_dates
    group by instrument_id

),

-- How many bars are built anew: for a few the look-back is aggregated, for many windows move over it.
counted_scope as (

    select
        scope.instrument_id,
        scope.first_date,
        count(versions.session_date) as bar_count
    from scope
    left join versions
        on
            scope.instrument_id = versions.instrument_id
            and scope.first_date <= versions.session_date
    group by scope.instrument_id, scope.first_date

),

kept_bars as (

    select
        scope.instrument_id,
        max(stored_prices.bar_number) as kept_bar_number
    from scope
    inner join stored_prices
        on
            scope.instrument_id = stored_prices.instrument_id
            and scope.first_date > stored_prices.session_date
    group by scope.instrument_id

),

bounded_scope as (

    select
        counted_scope.*,
        kept_bars.kept_bar_number
    from counted_scope
    left join kept_bars
        on counted_scope.instrument_id = kept_bars.instrument_id

)
{%- else -%}
-- Without a build before this one every bar is built anew.
bounded_scope as (

    select
        changes.changed_instrument_id as instrument_id,
        changes.changed_session_date as first_date,
        cast(0 as bigint) as bar_count,
        cast(null as integer) as kept_bar_number
    from changes
    cross join versions
    cross join actions
    where false

)
{%- endif %}

select * from bounded_scope
