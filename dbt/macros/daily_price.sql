{# Steps that the daily price fact and the search for what changed in it share. #}

{# The rolling measures of a daily bar. Averages and extremes need a full window; deviations half of one, because a
   session without a bar leaves a return out. #}
{% macro daily_measures() -%}
    {{ return([
        {'name': 'average_20d_anchored_usd', 'kind': 'average', 'column': 'anchored_close', 'bars': 20, 'minimum': 20},
        {'name': 'average_50d_anchored_usd', 'kind': 'average', 'column': 'anchored_close', 'bars': 50, 'minimum': 50},
        {'name': 'average_120d_anchored_usd', 'kind': 'average', 'column': 'anchored_close', 'bars': 120, 'minimum': 120},
        {'name': 'average_200d_anchored_usd', 'kind': 'average', 'column': 'anchored_close', 'bars': 200, 'minimum': 200},
        {'name': 'volatility_20d_ratio', 'kind': 'volatility', 'column': 'log_return', 'bars': 20, 'minimum': 10},
        {'name': 'volatility_60d_ratio', 'kind': 'volatility', 'column': 'log_return', 'bars': 60, 'minimum': 30},
        {'name': 'volatility_252d_ratio', 'kind': 'volatility', 'column': 'log_return', 'bars': 252, 'minimum': 126},
        {'name': 'return_zscore_20d', 'kind': 'zscore', 'column': 'log_return', 'bars': 20, 'minimum': 10},
        {'name': 'return_zscore_252d', 'kind': 'zscore', 'column': 'log_return', 'bars': 252, 'minimum': 126},
        {'name': 'volume_zscore_20d', 'kind': 'zscore', 'column': 'anchored_volume', 'bars': 20, 'minimum': 10},
        {'name': 'price_zscore_252d', 'kind': 'zscore', 'column': 'anchored_close', 'bars': 252, 'minimum': 126},
        {'name': 'high_252d_anchored_usd', 'kind': 'highest', 'column': 'anchored_high', 'bars': 252, 'minimum': 252},
        {'name': 'low_252d_anchored_usd', 'kind': 'lowest', 'column': 'anchored_low', 'bars': 252, 'minimum': 252},
    ]) }}
{%- endmacro %}


{# Common table expressions that end in `winning_bars`: of the versions in `candidates` (current ones) one per instrument
   and session. The close that most providers have within a thousandth counts, then the one that most have to the
   last digit, then the preferred provider: one that is a cent off does not win against two equal ones. #}
{% macro winning_bars(candidates) -%}
-- Most instruments have one provider, which needs no vote.
contested_instruments as (

    select instrument_id
    from {{ candidates }}
    group by instrument_id
    having min(provider) <> max(provider)

),

votes as (

    select
        own.daily_price_version_key,
        count(*) as provider_count,
        count(
            case
                when greatest(own.close_usd, others.close_usd) <= least(own.close_usd, others.close_usd) * 1.001 then 1
            end
        ) as agreeing_provider_count,
        count(case when {{ is_same_value('own.close_usd', 'others.close_usd') }} then 1 end) as equal_provider_count
    from {{ candidates }} as own
    inner join contested_instruments
        on own.instrument_id = contested_instruments.instrument_id
    inner join {{ candidates }} as others
        on
            own.instrument_id = others.instrument_id
            and own.session_date = others.session_date
    group by own.daily_price_version_key

),

ranked_bars as (

    select
        candidates.*,
        votes.provider_count,
        votes.agreeing_provider_count,
        row_number() over (
            partition by candidates.instrument_id, candidates.session_date
            order by
                votes.agreeing_provider_count desc,
                votes.equal_provider_count desc,
                candidates.provider_rank asc,
                candidates.provider asc
        ) as bar_rank
    from {{ candidates }} as candidates
    inner join votes
        on candidates.daily_price_version_key = votes.daily_price_version_key

),

winning_bars as (

    select
        {{ winning_columns() }},
        cast(provider_count as integer) as provider_count,
        cast(agreeing_provider_count as integer) as agreeing_provider_count
    from ranked_bars
    where bar_rank = 1
    union all
    select
        {{ winning_columns('candidates.') }},
        1 as provider_count,
        1 as agreeing_provider_count
    from {{ candidates }} as candidates
    left join contested_instruments
        on candidates.instrument_id = contested_instruments.instrument_id
    where contested_instruments.instrument_id is null

)
{%- endmacro %}

{% macro winning_columns(prefix='') -%}
    {%- for column in [
        'instrument_key', 'source_key', 'instrument_id', 'symbol', 'session_date', 'provider', 'open_usd', 'high_usd',
        'low_usd', 'close_usd', 'volume_shares', 'vwap_usd', 'transaction_count'
    ] %}
        {{ prefix }}{{ column }} {{- ',' if not loop.last }}
    {%- endfor %}
{%- endmacro %}


{# Whether two providers tell one value: binary fractions of it may differ, a cent of the dearest share is more. #}
{% macro is_same_value(left, right) -%}
    abs({{ left }} - {{ right }}) <= 1e-9 * greatest(abs({{ left }}), abs({{ right }}))
{%- endmacro %}
