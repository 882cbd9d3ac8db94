{# Continuing from the last published build. The pipeline attaches its snapshot as the database `before` (read-only) and
   puts copies of the incremental tables into the private build file; without a snapshot everything is built anew. What a
   model reads of the last build it reads from the snapshot, which nothing in this build changes. #}

{# A table as the last build left it; none in a full refresh, and in unit tests, whose input is given. #}
{% macro before(name) -%}
    {% if not execute or flags.FULL_REFRESH or model.resource_type == 'unit_test' %}
        {{ return(none) }}
    {% endif %}
    {{ return(adapter.dispatch('before', 'market_pipeline')(name)) }}
{%- endmacro %}

{% macro default__before(name) -%}
    {{ return(none) }}
{%- endmacro %}

{% macro duckdb__before(name) -%}
    {{ return(adapter.get_relation(database='before', schema='main', identifier=name)) }}
{%- endmacro %}


{# True when this build only adds what changed since the last one. #}
{% macro is_continued() -%}
    {{ return(before('ledger_silver_slice') is not none) }}
{%- endmacro %}


{# Takes away the rows of the incremental table `this` that are built anew: those for which `stale` has a row that meets
   `condition`, which names them `stored_row` and `stale_row`. It is a pre-hook, so it commits with the new rows. #}
{% macro remove_stale(stale, condition) -%}
    {% if is_incremental() and is_continued() -%}
        {{ adapter.dispatch('remove_stale', 'market_pipeline')(stale, condition) }}
    {%- elif is_incremental() -%}
        delete from {{ this }}
    {%- elif is_continued() -%}
        {{ exceptions.raise_compiler_error(this ~ ' is missing from the build file, so there is nothing to continue') }}
    {%- endif %}
{%- endmacro %}

{% macro default__remove_stale(stale, condition) -%}
    delete from {{ this }} as stored_row
    where exists (select 1 from {{ stale }} as stale_row where {{ condition }})
{%- endmacro %}

{% macro duckdb__remove_stale(stale, condition) -%}
    delete from {{ this }} as stored_row
    using {{ stale }} as stale_row
    where {{ condition }}
{%- endmacro %}
