#!/bin/bash
# Runs once, on an empty data directory: the trackers' role owns its database and has no other rights.
set -euo pipefail
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
  --set password="$(cat "$CISTERN_DATABASE_PASSWORD_FILE")" <<'SQL'
CREATE ROLE cistern LOGIN PASSWORD :'password';
CREATE DATABASE cistern OWNER cistern ENCODING 'UTF8' TEMPLATE template0;
SQL
