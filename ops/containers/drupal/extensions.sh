#!/bin/sh
# The PHP extensions that Drupal needs and the official image lacks, as Drupal's own official image builds them: what was
# needed for building only is removed again. An image that has them all is left as it is.
set -eu
has() { php -r 'foreach (array_slice($argv, 1) as $one) extension_loaded($one) || exit(1);' "$@"; }
if has gd pdo_pgsql zip apcu 'Zend OPcache'; then exit; fi

manual=$(apt-mark showmanual)
apt-get update
apt-get install --yes --no-install-recommends libfreetype6-dev libjpeg-dev libpng-dev libpq-dev libwebp-dev libzip-dev
docker-php-ext-configure gd --with-freetype --with-jpeg=/usr --with-webp
docker-php-ext-install -j "$(nproc)" gd opcache pdo_pgsql zip
pecl install apcu-5.1.27
docker-php-ext-enable apcu
# Libraries that the extensions are linked with stay.
apt-mark auto '.*' >/dev/null
# shellcheck disable=SC2086 # One package a word.
apt-mark manual $manual
ldd "$(php -r 'echo ini_get("extension_dir");')"/*.so | awk '/=>/ { print $(NF-1) }' | sort -u | grep -v '^/usr/local/' \
  | while read -r library; do dpkg-query --search "$(realpath "$library")" "$library" 2>/dev/null || true; done \
  | cut -d: -f1 | sort -u | xargs --no-run-if-empty apt-mark manual
apt-get purge --yes --auto-remove --option APT::AutoRemove::RecommendsImportant=false
rm -rf /var/lib/apt/lists/* /tmp/pear
has gd pdo_pgsql zip apcu 'Zend OPcache'
