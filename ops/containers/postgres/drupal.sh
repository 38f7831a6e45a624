#!/bin/bash
# The database of the profile `drupal`, on a cluster that is new or has long been there: makes what is missing, and sets
# the password that the secret says.
set -euo pipefail
PGPASSWORD=$(cat "$POSTGRES_PASSWORD_FILE")
export PGPASSWORD
run() { psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --host postgres --username postgres "$@"; }
run --dbname postgres --set password="$(cat "$DRUPAL_DATABASE_PASSWORD_FILE")" <<'SQL'
SELECT 'CREATE ROLE drupal LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'drupal') \gexec
ALTER ROLE drupal PASSWORD :'password';
SELECT 'CREATE DATABASE drupal OWNER drupal ENCODING ''UTF8'' TEMPLATE template0'
  WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'drupal') \gexec
SQL
run --dbname drupal --command 'SET client_min_messages = warning; CREATE EXTENSION IF NOT EXISTS pg_trgm'
