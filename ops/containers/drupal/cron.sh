#!/bin/bash
# Drupal's cron, again and again. With --check: whether the last run that succeeded is not too long ago.
set -euo pipefail
every=${DRUPAL_CRON_SECONDS:-900}
ran=/tmp/cron-ran
if [ "${1:-}" = --check ]; then
  [ $(($(date +%s) - $(stat --format=%Y "$ran"))) -lt $((3 * every + 300)) ]
  exit
fi
trap 'exit 0' TERM QUIT
while true; do
  if php /usr/local/lib/cistern-drupal/cron.php; then touch "$ran"; fi
  sleep "$every" &
  wait $!
done
