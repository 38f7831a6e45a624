#!/bin/bash
# A head: waits until the site is installed, or installs it; then serves it.
set -euo pipefail
mkdir -p /var/lib/drupal/{files,tmp,sync}
# What uploads left behind that were cut off by the last stop.
rm -rf /var/lib/drupal/tmp/php??????
php /usr/local/lib/cistern-drupal/install.php
exec php-fpm --nodaemonize --fpm-config /usr/local/etc/php-fpm.conf
