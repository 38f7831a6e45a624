#!/bin/bash
# The `cistern` command as the cluster's administrator, with the secrets that the compose file mounts. A cluster that was
# started a moment ago may need some seconds until a tracker is ready.
set -eu
secret() { cat "/run/secrets/$1"; }
export CISTERN_TOKEN CISTERN_CLUSTER_KEY CISTERN_DATABASE_URL
CISTERN_TOKEN=$(secret admin_token)
CISTERN_CLUSTER_KEY=$(secret cluster_key)
CISTERN_DATABASE_URL=$(secret database_url)
ready() { cistern-ready tracker1:7500 || cistern-ready tracker2:7500; }
case "${1:---help}" in
  restore | -*) ;;
  *) for ((i = 0; i < 60; i++)); do ready 2>/dev/null && break || sleep 0.5; done ;;
esac
exec cistern "$@"
