#!/bin/bash
# Drupal's cron, again and again. With --check: whether the last run that succeeded is not too long ago.
set -euo pipefail
every=${DRUPAL_CRON_SECONDS:-900}
ran=/tmp/cron-ran
if [ "${1:-}" = --check ]; then
  last=$(stat --format=%Y "$ran" 2>/dev/null) || exit 1
  exec test $(($(date +%s) - last)) -lt $((3 * every + 300))
fi
trap 'exit 0' TERM QUIT
while true; do
  if php /usr/local/lib/cistern-drupal/cron.php; then touch "$ran"; fi
  sleep "$every" &
  wait $!
done
