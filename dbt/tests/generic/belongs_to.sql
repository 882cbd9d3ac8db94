{# Every value that is not null has its row in the parent. `parents` lists (column, to, field). #}
{% test belongs_to(model, parents) %}

{% for parent in parents -%}
select
    '{{ parent.column }}' as column_name,
    cast(child.{{ parent.column }} as varchar) as missing_value
from {{ model }} as child
left join {{ parent.to }} as parent
    on child.{{ parent.column }} = parent.{{ parent.field }}
where child.{{ parent.column }} is not null and parent.{{ parent.field }} is null
{% if not loop.last %}union all{% endif %}
{% endfor %}

{% endtest %}
