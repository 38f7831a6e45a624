#!/bin/sh
# Makes a code base into that of a head: Cistern's package and module where the code base has none of its own, and
# settings.php. What is there already stays.
set -eu
cd /usr/src/drupal
if [ ! -e web ] && [ -d docroot ]; then ln -s docroot web; fi
if [ ! -f web/core/lib/Drupal.php ] || [ ! -f vendor/autoload.php ]; then
  echo "This is no Drupal code base: /drupal must hold vendor/ and, in web/ or docroot/, Drupal's core." >&2
  exit 1
fi
add() {
  if [ -e "$2" ]; then return; fi
  mkdir -p "$(dirname "$2")"
  cp -R "$1" "$2"
}
add /usr/src/drupal.cistern/drupal/cistern web/modules/contrib/cistern
rm -rf /usr/src/drupal.cistern/drupal/cistern
add /usr/src/drupal.cistern vendor/cistern/cistern
rm -rf /usr/src/drupal.cistern

site=web/sites/default
mkdir -p $site
[ -e $site/settings.php ] || cp web/core/assets/scaffold/files/default.settings.php $site/settings.php
cp /tmp/settings.php $site/settings.cistern.php
grep -q settings.cistern.php $site/settings.php \
  || printf "\nrequire __DIR__ . '/settings.cistern.php';\n" >>$site/settings.php
# Public files that are not in Cistern (css/ and js/) are in the head's volume for what it writes.
rm -rf $site/files
ln -s /var/lib/drupal/files $site/files
# For everybody to read, for nobody to write.
chmod -R a+rX,go-w .
find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -d' ' -f1 >/tmp/release
mv /tmp/release .release
