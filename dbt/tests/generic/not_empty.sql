{# The table has a row. #}
{% test not_empty(model) %}

select 'no rows' as problem
where not exists (select * from {{ model }})

{% endtest %}
