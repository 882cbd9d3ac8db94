-- One row per column of the snapshot, in order.
select
    table_name,
    column_name,
    column_index,
    lower(data_type) as data_type,
    comment as description
from duckdb_columns()
where database_name = current_database() and not internal
order by table_name, column_index
