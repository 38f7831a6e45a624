#!/bin/sh
# Makes the secrets of the compose file, once: what is there already stays. The directory is closed to others, so the
# files in it can be readable for every user inside the containers that they are given to: compose mounts each
# file as it is, and the services are not root.
# Usage: ops/containers/secrets.sh [DIRECTORY]
set -eu
directory=${1:-secrets}
mkdir -p "$directory"
chmod 700 "$directory"
cd "$directory"
random() { od -An -N "$1" -tx1 /dev/urandom | tr -d ' \n'; }
make() {
  [ -s "$1" ] && return
  printf '%s\n' "$2" >"$1.new"
  chmod 444 "$1.new"
  mv "$1.new" "$1"
}
make cluster.key "$(random 32)"
make admin.token "$(random 24)"
make postgres.password "$(random 24)"
make database.password "$(random 24)"
make grafana.password "$(random 12)"
make database.url "postgres://cistern:$(cat database.password)@postgres:5432/cistern"
# Of the profile `drupal`.
make drupal.salt "$(random 32)"
make drupal-admin.password "$(random 12)"
make drupal-database.password "$(random 24)"
