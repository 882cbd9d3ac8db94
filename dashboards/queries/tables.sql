-- One row per table or view of the snapshot.
select
    table_name,
    'table' as kind,
    estimated_size as row_count,
    column_count,
    comment as description
from duckdb_tables()
where database_name = current_database()
union all
select
    view_name,
    'view' as kind,
    null as row_count,
    column_count,
    comment
from duckdb_views()
where database_name = current_database() and not internal
order by kind, table_name
