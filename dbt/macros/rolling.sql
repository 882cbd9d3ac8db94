{# Measures over the last bars of an instrument, each declared once and written in two ways.

   A full build moves windows over all rows. When only a few bars per instrument are new, a window function would still
   work on every bar of their look-back, so then the new bars are joined with their last bars and aggregated, which costs
   a tenth. Both give the same statistics under the same names, and the measures are formulas over those.

   A measure is {name, kind, column, bars, minimum}: over the last `bars` bars, this one included, null with fewer than
   `minimum` values of `column`. Kinds: average, highest, lowest, volatility (sample deviation, ddof 1, times sqrt(252)),
   zscore (distance of the value from the mean in sample deviations). #}

{# The statistics that these measures need, each once: (function, column, bars). #}
{% macro statistics_of(measures) -%}
    {%- set needed = {
        'average': ['count', 'avg'],
        'highest': ['count', 'max'],
        'lowest': ['count', 'min'],
        'volatility': ['count', 'min', 'max', 'stddev_samp'],
        'zscore': ['count', 'min', 'max', 'avg', 'stddev_samp'],
    } -%}
    {%- set found = [] -%}
    {%- for measure in measures -%}
        {%- for function in needed[measure.kind] -%}
            {%- if (function, measure.column, measure.bars) not in found -%}
                {%- do found.append((function, measure.column, measure.bars)) -%}
            {%- endif -%}
        {%- endfor -%}
    {%- endfor -%}
    {{ return(found) }}
{%- endmacro %}


{# What a statistic's column is called. #}
{% macro statistic(function, column, bars) -%}
    {{ column }}_{{ bars }}_{{ function }}
{%- endmacro %}


{# One column per statistic, as window functions over the windows of `rolling_windows`. #}
{% macro rolling_statistics(measures) -%}
    {%- for function, column, bars in statistics_of(measures) %}
        {{ function }}({{ column }}) over last_{{ bars }} as {{ statistic(function, column, bars) }}
        {{- ',' if not loop.last }}
    {%- endfor %}
{%- endmacro %}


{# The windows themselves. `within` holds the partition and the order. #}
{% macro rolling_windows(measures, within) -%}
    {%- for bars in measures | map(attribute='bars') | unique | sort %}
        last_{{ bars }} as ({{ within }} rows between {{ bars - 1 }} preceding and current row)
        {{- ',' if not loop.last }}
    {%- endfor %}
{%- endmacro %}


{# The same columns as aggregates over a join of bars with their last bars, which are the relation `history`; `age` counts
   back from the bar, 0 is itself. #}
{% macro joined_statistics(measures, history, age) -%}
    {%- set longest = measures | map(attribute='bars') | max -%}
    {%- for function, column, bars in statistics_of(measures) %}
        {%- set value = history ~ '.' ~ column %}
        {%- if bars < longest %}
            {%- set value = 'case when ' ~ age ~ ' < ' ~ bars ~ ' then ' ~ value ~ ' end' %}
        {%- endif %}
        {{ function }}({{ value }}) as {{ statistic(function, column, bars) }}
        {{- ',' if not loop.last }}
    {%- endfor %}
{%- endmacro %}


{# The names of these columns. #}
{% macro statistic_columns(measures, prefix='') -%}
    {%- for function, column, bars in statistics_of(measures) %}
        {{ prefix }}{{ statistic(function, column, bars) }}
        {{- ',' if not loop.last }}
    {%- endfor %}
{%- endmacro %}


{# The measures as columns, from the statistics of either kind. #}
{% macro measure_columns(measures) -%}
    {%- for m in measures %}
        {{ measure_formula(m) }} as {{ m.name }}
        {{- ',' if not loop.last }}
    {%- endfor %}
{%- endmacro %}

{% macro measure_formula(m) -%}
    {%- set values = statistic('count', m.column, m.bars) -%}
    {%- set lowest = statistic('min', m.column, m.bars) -%}
    {%- set highest = statistic('max', m.column, m.bars) -%}
    {%- set mean = statistic('avg', m.column, m.bars) -%}
    {%- set spread = statistic('stddev_samp', m.column, m.bars) -%}
    {%- if m.kind == 'average' -%}
        case when {{ values }} >= {{ m.minimum }} then {{ mean }} end
    {%- elif m.kind == 'highest' -%}
        case when {{ values }} >= {{ m.minimum }} then {{ highest }} end
    {%- elif m.kind == 'lowest' -%}
        case when {{ values }} >= {{ m.minimum }} then {{ lowest }} end
    {%- elif m.kind == 'volatility' -%}
        case
            when {{ values }} < {{ m.minimum }} then null
            when {{ has_spread_between(lowest, highest) }} then {{ spread }} * sqrt(252)
            else 0.0
        end
    {%- elif m.kind == 'zscore' -%}
        case
            when {{ values }} >= {{ m.minimum }} and {{ has_spread_between(lowest, highest) }}
                then ({{ m.column }} - {{ mean }}) / {{ spread }}
        end
    {%- endif -%}
{%- endmacro %}
