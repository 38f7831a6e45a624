#!/bin/sh
# Fetches Drupal and Drush into /drupal, with Composer's release COMPOSER_VERSION from COMPOSER_DOWNLOAD. All packages
# come from COMPOSER_REPOSITORY, a mirror of Packagist and of Drupal's own, if one is named; else from these two.
set -eu
export COMPOSER_ALLOW_SUPERUSER=1 COMPOSER_HOME=/tmp/composer COMPOSER_NO_INTERACTION=1
cd /tmp
php -r 'copy($argv[1], "composer.phar") && copy("$argv[1].sha256sum", "composer.phar.sha256sum") || exit(1);' \
  "$COMPOSER_DOWNLOAD/$COMPOSER_VERSION/composer.phar"
sha256sum --check composer.phar.sha256sum
composer() { php composer.phar "$@"; }
# Who names a mirror without TLS has a reason.
case $COMPOSER_REPOSITORY in http:*) composer config --global secure-http false ;; esac
composer create-project --no-progress --no-install ${COMPOSER_REPOSITORY:+"--repository=$COMPOSER_REPOSITORY"} \
  "drupal/recommended-project:$DRUPAL_VERSION" /drupal
if [ -n "$COMPOSER_REPOSITORY" ]; then
  # Instead of what the template names. Its lock file says where each package is downloaded.
  rm -f /drupal/composer.lock
  composer config --working-dir=/drupal --unset repositories
  composer config --working-dir=/drupal repositories.mirror composer "$COMPOSER_REPOSITORY"
  composer config --working-dir=/drupal repositories.packagist.org false
fi
composer require --working-dir=/drupal --no-progress --update-no-dev "drush/drush:$DRUSH_VERSION"
rm -rf composer.phar composer.phar.sha256sum /tmp/composer
