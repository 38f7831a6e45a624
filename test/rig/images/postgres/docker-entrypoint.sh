#!/bin/bash
# Starts PostgreSQL as the official image is documented to: POSTGRES_PASSWORD, POSTGRES_USER, POSTGRES_DB (each also
# with _FILE), POSTGRES_INITDB_ARGS, and on an empty data directory the scripts of /docker-entrypoint-initdb.d.
set -euo pipefail

setting() {
  local file="${1}_FILE"
  if [ -n "${!file:-}" ]; then cat "${!file}"; else printf '%s' "${!1:-$2}"; fi
}

[ "${1:0:1}" = '-' ] && set -- postgres "$@"
if [ "$1" != postgres ]; then exec "$@"; fi

if [ "$(id -u)" = 0 ]; then
  mkdir -p "$PGDATA"
  chown -R postgres:postgres "$(dirname "$PGDATA")" "$PGDATA"
  chmod 700 "$PGDATA"
  exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi

if [ ! -s "$PGDATA/PG_VERSION" ]; then
  mkdir -p "$PGDATA"
  user=$(setting POSTGRES_USER postgres)
  password=$(setting POSTGRES_PASSWORD '')
  database=$(setting POSTGRES_DB "$user")
  if [ -z "$password" ] && [ "${POSTGRES_HOST_AUTH_METHOD:-}" != trust ]; then
    echo 'Error: POSTGRES_PASSWORD must be set' >&2
    exit 1
  fi
  # shellcheck disable=SC2086 # Arguments are given as one text.
  initdb --username="$user" --pwfile=<(printf '%s\n' "$password") --encoding=UTF8 --locale-provider=builtin \
    --locale=C.UTF-8 --auth-local=trust --auth-host=scram-sha-256 ${POSTGRES_INITDB_ARGS:-}
  printf '\nhost all all all %s\n' "${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}" >>"$PGDATA/pg_hba.conf"
  pg_ctl --silent --wait --options="-c listen_addresses='' -k /var/run/postgresql" start
  run() { psql --no-psqlrc --set ON_ERROR_STOP=1 --username "$user" --host /var/run/postgresql "$@"; }
  if [ "$database" != postgres ]; then run --dbname postgres --command "CREATE DATABASE \"$database\""; fi
  for script in /docker-entrypoint-initdb.d/*; do
    case "$script" in
      *.sh) POSTGRES_USER="$user" POSTGRES_DB="$database" bash "$script" ;;
      *.sql) run --dbname "$database" --file "$script" ;;
    esac
  done
  pg_ctl --silent --mode fast --wait stop
  echo 'PostgreSQL init process complete; ready for start up.'
fi
exec "$@" -c listen_addresses='*' -c unix_socket_directories=/var/run/postgresql
