#!/bin/sh
# At the first start: the one role that Dagster has. It owns its databases and is no superuser.
set -eu
psql -v ON_ERROR_STOP=1 -v word="$(cat /run/database/dagster)" -U postgres -d postgres <<'SQL'
create role dagster login createdb password :'word';
revoke connect on database template1 from public;
SQL
