{# Reading files of the lake by name: a build opens those that changed, not the thousands that a pattern finds. #}

{# The rows of these files. `keys` are keys of the lake. #}
{% macro read_lake_files(keys) -%}
    {{ return(adapter.dispatch('read_lake_files', 'market_pipeline')(keys)) }}
{%- endmacro %}

{% macro default__read_lake_files(keys) -%}
    {%- for key in keys -%}
        select * from parquet.`{{ env_var('MARKET_PIPELINE_LAKE') }}/{{ key }}`
        {%- if not loop.last %} union all {% endif %}
    {%- endfor -%}
{%- endmacro %}

{% macro duckdb__read_lake_files(keys) -%}
    {%- set lake = env_var('MARKET_PIPELINE_LAKE') | replace("'", "''") -%}
    select * from read_parquet([
        {%- for key in keys %}
        '{{ lake }}/{{ key | replace("'", "''") }}' {{- ',' if not loop.last }}
        {%- endfor %}
    ], hive_partitioning = false)
{%- endmacro %}


{# The values of one column of a relation as a list, known while the SQL is written; empty while dbt only parses. #}
{% macro column_values(relation, column, condition) -%}
    {% if not execute or model.resource_type == 'unit_test' %}
        {{ return([]) }}
    {% endif %}
    {% set rows = run_query('select ' ~ column ~ ' from ' ~ relation ~ ' where ' ~ condition ~ ' order by 1') %}
    {{ return(rows.columns[0].values() | list) }}
{%- endmacro %}
