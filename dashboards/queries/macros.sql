-- One row per table function that the snapshot brings.
select
    function_name,
    parameters,
    macro_definition
from duckdb_functions()
where not internal and function_type = 'table_macro'
order by function_name
