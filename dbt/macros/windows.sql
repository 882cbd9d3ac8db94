{# Measures over a moving window. `over` names a window of the query; the value at t counts, no later one does. #}

{# False for a series that stands still: its last digits may still differ, and a deviation made of rounding noise is
   none. Returns are ratios less one, so their noise is that of 1. #}
{% macro has_spread(column, over) -%}
    {{ has_spread_between('min(' ~ column ~ ') over ' ~ over, 'max(' ~ column ~ ') over ' ~ over) }}
{%- endmacro %}


{# Distance of the value at t from the window's mean in sample standard deviations (ddof 1); null with fewer than
   `minimum` values and for a series that stands still. #}
{% macro zscore(column, over, minimum) -%}
    case
        when count({{ column }}) over {{ over }} >= {{ minimum }} and {{ has_spread(column, over) }}
            then ({{ column }} - avg({{ column }}) over {{ over }}) / stddev_samp({{ column }}) over {{ over }}
    end
{%- endmacro %}


{# Sample standard deviation (ddof 1); null with fewer than `minimum` values, 0 for a series that stands still. #}
{% macro deviation(column, over, minimum) -%}
    case
        when count({{ column }}) over {{ over }} < {{ minimum }} then null
        when {{ has_spread(column, over) }} then stddev_samp({{ column }}) over {{ over }}
        else 0.0
    end
{%- endmacro %}


{# The same of a lowest and a highest value. #}
{% macro has_spread_between(lowest, highest) -%}
    {{ highest }} - {{ lowest }} > 1e-12 * greatest(1, abs({{ highest }}), abs({{ lowest }}))
{%- endmacro %}


{# The last value that is not null, up to and including this row. `over` holds the partition and the order. #}
{% macro last_known(column, over) -%}
    {{ return(adapter.dispatch('last_known', 'market_pipeline')(column, over)) }}
{%- endmacro %}

{% macro default__last_known(column, over) -%}
    last_value({{ column }}) ignore nulls over ({{ over }} rows between unbounded preceding and current row)
{%- endmacro %}

{% macro duckdb__last_known(column, over) -%}
    last_value({{ column }} ignore nulls) over ({{ over }} rows between unbounded preceding and current row)
{%- endmacro %}


{# The product of a column's values, null when there is none. `over` makes it a running one. #}
{% macro product(column, over='') -%}
    {{ return(adapter.dispatch('product', 'market_pipeline')(column, over)) }}
{%- endmacro %}

{% macro default__product(column, over) -%}
    exp(sum(ln({{ column }})) {{ over }})
{%- endmacro %}

{% macro duckdb__product(column, over) -%}
    product({{ column }}) {{ over }}
{%- endmacro %}
