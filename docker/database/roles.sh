# shellcheck shell=sh
# At the first start: the one role that Dagster has. It owns its databases and is no superuser. The image's own script reads
# this file from the volume of the database's secrets, where `stack secrets` put it. No argument holds the password.
psql -v ON_ERROR_STOP=1 -U postgres -d postgres <<'SQL'
\set word `cat /secrets/database/dagster`
create role dagster login createdb password :'word';
revoke connect on database template1 from public;
SQL
