{# Dates, where the engines differ. Weeks start on Monday. #}

{% macro week_start(day) -%}
    cast(date_trunc('week', {{ day }}) as date)
{%- endmacro %}


{% macro add_days(day, days) -%}
    {{ return(adapter.dispatch('add_days', 'market_pipeline')(day, days)) }}
{%- endmacro %}

{% macro default__add_days(day, days) -%}
    date_add({{ day }}, {{ days }})
{%- endmacro %}

{% macro duckdb__add_days(day, days) -%}
    ({{ day }} + {{ days }})
{%- endmacro %}


{# Whole days from the first to the second date. #}
{% macro days_between(first_day, last_day) -%}
    {{ return(adapter.dispatch('days_between', 'market_pipeline')(first_day, last_day)) }}
{%- endmacro %}

{% macro default__days_between(first_day, last_day) -%}
    datediff({{ last_day }}, {{ first_day }})
{%- endmacro %}

{% macro duckdb__days_between(first_day, last_day) -%}
    date_diff('day', {{ first_day }}, {{ last_day }})
{%- endmacro %}


{% macro iso_year(day) -%}
    {{ return(adapter.dispatch('iso_year', 'market_pipeline')(day)) }}
{%- endmacro %}

{% macro default__iso_year(day) -%}
    cast(extract(yearofweek from {{ day }}) as integer)
{%- endmacro %}

{% macro duckdb__iso_year(day) -%}
    cast(isoyear({{ day }}) as integer)
{%- endmacro %}


{# 1 is Monday, 7 is Sunday. #}
{% macro iso_day_of_week(day) -%}
    {{ return(adapter.dispatch('iso_day_of_week', 'market_pipeline')(day)) }}
{%- endmacro %}

{% macro default__iso_day_of_week(day) -%}
    cast(extract(dayofweek_iso from {{ day }}) as integer)
{%- endmacro %}

{% macro duckdb__iso_day_of_week(day) -%}
    cast(isodow({{ day }}) as integer)
{%- endmacro %}


{# The calendar date of an instant at the exchange, whatever zone the session has. #}
{% macro exchange_date(instant) -%}
    {{ return(adapter.dispatch('exchange_date', 'market_pipeline')(instant)) }}
{%- endmacro %}

{% macro default__exchange_date(instant) -%}
    cast(from_utc_timestamp({{ instant }}, 'America/New_York') as date)
{%- endmacro %}

{% macro duckdb__exchange_date(instant) -%}
    cast(timezone('America/New_York', {{ instant }}) as date)
{%- endmacro %}


{# Midnight UTC at the start of a date, as an instant. #}
{% macro utc_midnight(day) -%}
    {{ return(adapter.dispatch('utc_midnight', 'market_pipeline')(day)) }}
{%- endmacro %}

{% macro default__utc_midnight(day) -%}
    to_utc_timestamp({{ day }}, 'UTC')
{%- endmacro %}

{% macro duckdb__utc_midnight(day) -%}
    timezone('UTC', cast({{ day }} as timestamp))
{%- endmacro %}
