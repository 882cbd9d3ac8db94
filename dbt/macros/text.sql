{# Text, where the engines differ. #}

{# A vendor's classification in one spelling: words begin with a capital, REIT stays, blanks are trimmed, empty is null.
   'TECHNOLOGY' and 'Technology' are the same sector, so case alone makes no version of an instrument. #}
{% macro title_case(words) -%}
    {{ return(adapter.dispatch('title_case', 'market_pipeline')(words)) }}
{%- endmacro %}

{% macro default__title_case(words) -%}
    regexp_replace(nullif(initcap(trim({{ words }})), ''), '\\bReit\\b', 'REIT')
{%- endmacro %}

{% macro duckdb__title_case(words) -%}
    regexp_replace(
        array_to_string(
            list_transform(
                regexp_extract_all(nullif(lower(trim({{ words }})), ''), '[\p{L}\p{N}'']+|[^\p{L}\p{N}'']+'),
                lambda word: upper(word[1]) || word[2:]
            ),
            ''
        ),
        '\bReit\b', 'REIT', 'g'
    )
{%- endmacro %}


{# A date member of a JSON object in text, null where it is none. #}
{% macro json_date(json_text, member) -%}
    {{ return(adapter.dispatch('json_date', 'market_pipeline')(json_text, member)) }}
{%- endmacro %}

{% macro default__json_date(json_text, member) -%}
    try_cast(get_json_object({{ json_text }}, '$.{{ member }}') as date)
{%- endmacro %}

{% macro duckdb__json_date(json_text, member) -%}
    case
        when json_valid({{ json_text }})
            then try_cast(json_extract_string({{ json_text }}, '$.{{ member }}') as date)
    end
{%- endmacro %}
