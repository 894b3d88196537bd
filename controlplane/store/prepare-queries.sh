#!/usr/bin/env bash
# Writes `.sqlx`: what the database says of every query, so that a build needs no database.
# Run it after changing a query or a migration. Needs PostgreSQL's programs on PATH or in
# /usr/lib/postgresql/*/bin; as root the server runs as the user `postgres`.
set -euo pipefail

crate=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
initdb=$(command -v initdb || ls -v /usr/lib/postgresql/*/bin/initdb | tail -1)
bin=$(dirname "$(readlink -f "$initdb")")
folder=$(mktemp -d /tmp/tessera-pg.XXXXXX)
as=()
if [ "$(id -u)" = 0 ]; then
    chown postgres "$folder"
    as=(setpriv --reuid=postgres --regid=postgres --init-groups)
fi
stop() {
    (cd "$folder" && "${as[@]}" "$bin/pg_ctl" -D "$folder/data" -m immediate -w stop >/dev/null) || true
    rm -rf "$folder"
}
trap stop EXIT

cd "$folder"
"${as[@]}" "$bin/initdb" -D "$folder/data" -U tessera -A trust --no-sync >/dev/null
"${as[@]}" "$bin/pg_ctl" -D "$folder/data" -l "$folder/log" -w \
    -o "-c listen_addresses='' -c unix_socket_directories='$folder' -c fsync=off" start >/dev/null
for migration in "$crate"/../../migrations/*.sql; do
    "$bin/psql" -h "$folder" -U tessera -d postgres -v ON_ERROR_STOP=1 -q -f "$migration"
done

cd "$crate"
rm -rf .sqlx
mkdir .sqlx
# The macros write as they compile, so the crate is made to compile anew.
TESSERA_PREPARE_QUERIES=$(date +%s) SQLX_OFFLINE_DIR="$crate/.sqlx" \
    DATABASE_URL="postgres://tessera@localhost/postgres?host=$folder" cargo check -p tessera-store
echo "wrote $(ls .sqlx | wc -l) queries"
