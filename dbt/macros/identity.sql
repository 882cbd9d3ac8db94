{# Who is meant. #}

{# Names an instrument that no file of ours names: 16 hex digits of a hash of what its identity rests on. #}
{% macro instrument_id_of(columns) -%}
    substr({{ surrogate_key(columns) }}, 1, 16)
{%- endmacro %}


{# The end of a period that has none. #}
{% macro open_end() -%}
    cast('9999-12-31' as date)
{%- endmacro %}


{# An exchange's market identifier code (ISO 10383) as people write it; other codes stay. #}
{% macro exchange_name(code) -%}
    case {{ code }}
        when 'XNAS' then 'NASDAQ'
        when 'XNYS' then 'NYSE'
        when 'ARCX' then 'NYSE ARCA'
        when 'XASE' then 'NYSE AMERICAN'
        when 'BATS' then 'CBOE BZX'
        else {{ code }}
    end
{%- endmacro %}


{# A roster's class of a ticker in our words. #}
{% macro asset_class_of(ticker_type) -%}
    case
        when {{ ticker_type }} in ('CS', 'OS', 'ADRC', 'NYRS', 'GDR', 'LT') then 'stock'
        when {{ ticker_type }} in ('ETF', 'ETN', 'ETV', 'ETS') then 'etf'
        when {{ ticker_type }} in ('FUND', 'BASKET') then 'fund'
        when {{ ticker_type }} in ('PFD', 'ADRP') then 'preferred'
        when {{ ticker_type }} in ('WARRANT', 'ADRW') then 'warrant'
        when {{ ticker_type }} in ('RIGHT', 'ADRR') then 'right'
        when {{ ticker_type }} = 'UNIT' then 'unit'
        when {{ ticker_type }} = 'INDEX' then 'index'
        when {{ ticker_type }} is null then 'unknown'
        else 'other'
    end
{%- endmacro %}
