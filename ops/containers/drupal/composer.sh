#!/bin/sh
# Fetches Drupal and Drush into /drupal, with Composer's release COMPOSER_VERSION.
set -eu
export COMPOSER_ALLOW_SUPERUSER=1 COMPOSER_HOME=/tmp/composer
cd /tmp
url=https://getcomposer.org/download/$COMPOSER_VERSION/composer.phar
php -r 'copy($argv[1], "composer.phar") && copy("$argv[1].sha256sum", "composer.phar.sha256sum") || exit(1);' "$url"
sha256sum --check composer.phar.sha256sum
php composer.phar create-project --no-interaction --no-progress --no-install \
  "drupal/recommended-project:$DRUPAL_VERSION" /drupal
php composer.phar require --working-dir=/drupal --no-interaction --no-progress --update-no-dev "drush/drush:$DRUSH_VERSION"
rm -rf composer.phar composer.phar.sha256sum /tmp/composer
