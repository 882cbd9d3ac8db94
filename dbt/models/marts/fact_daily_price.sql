{{ config(
    materialized='incremental',
    incremental_strategy='append',
    on_schema_change='fail',
    pre_hook="{{ remove_stale(ref('int_daily_price_scope'), 'stored_row.instrument_id = stale_row.instrument_id and stored_row.session_date >= stale_row.first_date') }}",
    meta={'published_order': ['instrument_id', 'session_date']}
) }}
{#- Longer than most models: full build and continuation are one text, so that they can't drift apart. -#}
{%- set measures = daily_measures() -%}
{%- set longest = measures | map(attribute='bars') | max -%}
{%- set few = 5 -%}
{%- if is_continued() -%}
    {%- set scope = ref('int_daily_price_scope') -%}
    {%- set has_few = column_values(scope, 'count(*)', 'bar_count between 1 and ' ~ few)[0] > 0 -%}
    {%- set has_many = column_values(scope, 'count(*)', 'bar_count > ' ~ few)[0] > 0 -%}
{%- endif -%}
with

versions as (

    select
        {{ winning_columns() }},
        daily_price_version_key,
        provider_rank
    from {{ ref('fact_daily_price_version') }}
    where is_current

),

action_days as (

    select
        instrument_id,
        first_session_date,
        {{ product('split_ratio') }} as split_ratio,
        cast(sum(cash_amount) as double) as dividend_usd
    from {{ ref('fact_corporate_action') }}
    where action_type = 'split' or currency = 'USD'
    group by instrument_id, first_session_date

),

dates as (

    select
        calendar_date,
        previous_session_date
    from {{ ref('dim_date') }}

),

scope as (

    select * from {{ ref('int_daily_price_scope') }}

),

{% if is_continued() -%}
-- The bars before the first new one that a window can reach; the last of them is the anchor.
look_back as (

    select
        stored_prices.instrument_id,
        stored_prices.session_date,
        stored_prices.bar_number,
        stored_prices.bar_number = scope.kept_bar_number as is_anchor,
        stored_prices.high_usd,
        stored_prices.low_usd,
        stored_prices.close_usd,
        stored_prices.volume_shares,
        stored_prices.split_factor,
        stored_prices.total_factor,
        stored_prices.log_return
    from {{ before('fact_daily_price') }} as stored_prices
    inner join scope
        on
            stored_prices.instrument_id = scope.instrument_id
            and stored_prices.bar_number <= scope.kept_bar_number
            and stored_prices.bar_number > scope.kept_bar_number - {{ longest - 1 }}
    where scope.bar_count > 0

),

candidates as (

    select versions.*
    from versions
    inner join scope
        on
            versions.instrument_id = scope.instrument_id
            and versions.session_date >= scope.first_date

),

{{ winning_bars('candidates') }},
{%- else -%}
{{ winning_bars('versions') }},
{%- endif %}

-- The last bar that stays leads the new ones: what was cumulated up to it goes on.
bars as (

    select
        instrument_id,
        session_date,
        close_usd,
        cast(null as integer) as stored_number,
        cast(null as double) as stored_split_factor,
        cast(null as double) as stored_total_factor
    from winning_bars
    {%- if is_continued() %}
    union all
    select
        instrument_id,
        session_date,
        close_usd,
        bar_number as stored_number,
        split_factor as stored_split_factor,
        total_factor as stored_total_factor
    from look_back
    where is_anchor
    {%- endif %}

),

neighbours as (

    select
        *,
        lag(session_date) over in_time as old_session_date,
        lag(close_usd) over in_time as old_close_usd
    from bars
    window in_time as (partition by instrument_id order by session_date)

),

-- An action takes effect on the first bar on or after its day. Before an instrument's first bar there is nothing that it
-- could change.
numbered_actions as (

    select
        neighbours.instrument_id,
        neighbours.session_date,
        coalesce(action_days.split_ratio, 1.0) as split_ratio,
        action_days.dividend_usd,
        -- Shares on the action's day for one at the old close.
        {{ product('coalesce(action_days.split_ratio, 1.0)', 'over to_the_day') }} as share_ratio
    from neighbours
    inner join action_days
        on
            neighbours.instrument_id = action_days.instrument_id
            and neighbours.session_date >= action_days.first_session_date
            and coalesce(neighbours.old_session_date, {{ add_days('neighbours.session_date', -1) }})
            < action_days.first_session_date
    where neighbours.stored_number is null
    window to_the_day as (
        partition by neighbours.instrument_id, neighbours.session_date
        order by action_days.first_session_date
        rows between unbounded preceding and current row
    )

),

-- In a gap a split may follow a dividend: what was paid on the shares of its day is told for those of the new bar.
placed_actions as (

    select
        instrument_id,
        session_date,
        {{ product('split_ratio') }} as split_ratio,
        sum(dividend_usd * share_ratio) / {{ product('split_ratio') }} as dividend_usd
    from numbered_actions
    group by instrument_id, session_date

),

steps as (

    select
        neighbours.*,
        coalesce(placed_actions.split_ratio, 1.0) as split_ratio,
        coalesce(placed_actions.dividend_usd, 0.0) as dividend_usd,
        -- A dividend leaves 1 - dividend / old close of the price, the old close in the basis after the split. One that
        -- takes the whole price or more is no dividend of this share, and changes nothing.
        case
            when placed_actions.dividend_usd * coalesce(placed_actions.split_ratio, 1.0) < neighbours.old_close_usd
                then
                    1
                    - placed_actions.dividend_usd * coalesce(placed_actions.split_ratio, 1.0) / neighbours.old_close_usd
            else 1.0
        end as kept_ratio
    from neighbours
    left join placed_actions
        on
            neighbours.instrument_id = placed_actions.instrument_id
            and neighbours.session_date = placed_actions.session_date

),

factors as (

    select
        steps.instrument_id,
        steps.session_date,
        steps.stored_number,
        steps.split_ratio,
        steps.dividend_usd,
        steps.kept_ratio,
        {{ product("coalesce(steps.stored_split_factor, case when steps.old_close_usd > 0 then steps.split_ratio else 1.0 end)", 'over to_here') }} as split_factor,
        {{ product("coalesce(steps.stored_total_factor, case when steps.old_close_usd > 0 then steps.split_ratio / steps.kept_ratio else 1.0 end)", 'over to_here') }} as total_factor,
        coalesce(first_value(steps.stored_number) over to_here, 1) + row_number() over to_here - 1 as bar_number,
        -- After a gap the bar before is not that of the session before, and a return over several sessions is no daily
        -- return.
        case when steps.old_session_date = dates.previous_session_date then steps.old_close_usd end as base_usd
    from steps
    left join dates
        on steps.session_date = dates.calendar_date
    window to_here as (
        partition by steps.instrument_id
        order by steps.session_date
        rows between unbounded preceding and current row
    )

),

new_bars as (

    select
        winning_bars.*,
        factors.split_ratio,
        factors.dividend_usd,
        factors.split_factor,
        factors.total_factor,
        factors.bar_number,
        factors.base_usd,
        winning_bars.close_usd * (factors.split_ratio / factors.kept_ratio) / factors.base_usd as growth_ratio,
        ln(winning_bars.close_usd * (factors.split_ratio / factors.kept_ratio) / factors.base_usd) as log_return,
        winning_bars.close_usd * factors.split_factor as anchored_close,
        winning_bars.high_usd * factors.split_factor as anchored_high,
        winning_bars.low_usd * factors.split_factor as anchored_low,
        winning_bars.volume_shares / factors.split_factor as anchored_volume
    from winning_bars
    inner join factors
        on
            winning_bars.instrument_id = factors.instrument_id
            and winning_bars.session_date = factors.session_date

),

{% if not is_continued() -%}
measured as (

    select
        *,
        {{ rolling_statistics(measures) }}
    from new_bars
    window {{ rolling_windows(measures, 'partition by instrument_id order by bar_number') }}

)
{%- else -%}
history as (

    select
        instrument_id,
        bar_number,
        true as is_new,
        anchored_close,
        anchored_high,
        anchored_low,
        anchored_volume,
        log_return
    from new_bars
    union all
    select
        instrument_id,
        bar_number,
        false as is_new,
        close_usd * split_factor as anchored_close,
        high_usd * split_factor as anchored_high,
        low_usd * split_factor as anchored_low,
        volume_shares / split_factor as anchored_volume,
        log_return
    from look_back

),

{% if has_few -%}
few_statistics as (

    select
        new_bars.instrument_id,
        new_bars.bar_number,
        {{ joined_statistics(measures, 'history', 'new_bars.bar_number - history.bar_number') }}
    from new_bars
    inner join scope
        on
            new_bars.instrument_id = scope.instrument_id
            and scope.bar_count <= {{ few }}
    inner join history
        on
            new_bars.instrument_id = history.instrument_id
            and new_bars.bar_number >= history.bar_number
            and new_bars.bar_number < history.bar_number + {{ longest }}
    group by new_bars.instrument_id, new_bars.bar_number

),
{%- endif %}

{% if has_many -%}
long_history as (

    select history.*
    from history
    inner join scope
        on history.instrument_id = scope.instrument_id
    where scope.bar_count > {{ few }}

),

rolled_history as (

    select
        instrument_id,
        bar_number,
        is_new,
        {{ rolling_statistics(measures) }}
    from long_history
    window {{ rolling_windows(measures, 'partition by instrument_id order by bar_number') }}

),
{%- endif %}

statistics as (

    {% if has_few -%}
    select * from few_statistics
    {%- endif %}
    {%- if has_few and has_many %}
    union all
    {%- endif %}
    {%- if has_many %}
    select
        instrument_id,
        bar_number,
        {{ statistic_columns(measures) }}
    from rolled_history
    where is_new
    {%- endif %}
    {%- if not has_few and not has_many %}
    select
        new_bars.instrument_id,
        new_bars.bar_number,
        {{ joined_statistics(measures, 'new_bars', '0') }}
    from new_bars
    where false
    group by new_bars.instrument_id, new_bars.bar_number
    {%- endif %}

),

measured as (

    select
        new_bars.*,
        {{ statistic_columns(measures, 'statistics.') }}
    from new_bars
    inner join statistics
        on
            new_bars.instrument_id = statistics.instrument_id
            and new_bars.bar_number = statistics.bar_number

)
{%- endif %}

select
    {{ surrogate_key(['instrument_id', 'session_date']) }} as daily_price_key,
    instrument_key,
    {{ date_key('session_date') }} as date_key,
    source_key,
    instrument_id,
    symbol,
    session_date,
    cast(bar_number as integer) as bar_number,
    provider,
    provider_count,
    agreeing_provider_count,
    open_usd,
    high_usd,
    low_usd,
    close_usd,
    volume_shares,
    vwap_usd,
    transaction_count,
    split_ratio,
    dividend_usd,
    split_factor,
    total_factor,
    close_usd / base_usd - 1 as raw_return_ratio,
    close_usd * split_ratio / base_usd - 1 as split_return_ratio,
    growth_ratio - 1 as total_return_ratio,
    log_return,
    open_usd * split_ratio / base_usd - 1 as gap_ratio,
    close_usd * volume_shares as dollar_volume_usd,
    (greatest(high_usd * split_ratio, base_usd) - least(low_usd * split_ratio, base_usd)) / base_usd as true_range_ratio,
    {{ measure_columns(measures) }}
from measured
