{# Surrogate keys: MD5 of the business key as text, the same on every engine. Instants never take part, because their
   text depends on the engine. #}

{% macro surrogate_key(columns) -%}
    {{ return(adapter.dispatch('surrogate_key', 'market_pipeline')(columns)) }}
{%- endmacro %}

{% macro default__surrogate_key(columns) -%}
    md5(concat_ws('|' {%- for column in columns %}, coalesce(cast({{ column }} as varchar), '') {%- endfor %}))
{%- endmacro %}

{% macro spark__surrogate_key(columns) -%}
    md5(concat_ws('|' {%- for column in columns %}, coalesce(cast({{ column }} as string), '') {%- endfor %}))
{%- endmacro %}


{# Key of the row that every dimension keeps for facts without a match. #}
{% macro unknown_key() -%}
    md5('unknown')
{%- endmacro %}


{# A day as a number, 20261120. #}
{% macro date_key(day) -%}
    cast(extract(year from {{ day }}) * 10000 + extract(month from {{ day }}) * 100 + extract(day from {{ day }}) as integer)
{%- endmacro %}
