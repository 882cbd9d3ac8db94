{# Every row keeps every rule. `rules` maps a name to a condition; as with a check constraint, null passes. The rows
   that come back name the rules that they break: one scan for a whole table. #}
{% test holds(model, rules) %}

with

judged as (

    select
        *,
        concat_ws(
            ', '
            {%- for rule, condition in rules.items() %},
            case when not ({{ condition }}) then '{{ rule }}' end
            {%- endfor %}
        ) as broken_rules
    from {{ model }}

)

select * from judged
where broken_rules <> ''

{% endtest %}
