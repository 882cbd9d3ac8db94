# shellcheck shell=sh
# At the first start: the one role that Dagster has. It owns its databases and is no superuser. The image's own script reads
# this file from the volume of the database's secrets, where `stack secrets` put it. psql reads the password by itself: no
# argument and no environment of a process holds it, and no statement that fails is logged with it.
test -s /secrets/database/dagster || exit 1
psql -v ON_ERROR_STOP=1 -U postgres -d postgres <<'SQL'
\set word `cat /secrets/database/dagster`
set log_min_error_statement = panic;
create role dagster login createdb password :'word';
revoke connect on database template1 from public;
SQL
