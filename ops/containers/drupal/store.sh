#!/bin/bash
# Makes the site's domain in Cistern, and the token of its heads, once. Runs in the image of Cistern, as administrator.
# A token that was revoked, or is another cluster's, is replaced by a new one.
set -euo pipefail
domain=$1 file=/srv/cistern/token/token
if [ -s "$file" ] && CISTERN_TOKEN=$(cat "$file") cistern ls / --domain "$domain" >/dev/null; then exit; fi
CISTERN_TOKEN=$(cat /run/secrets/admin_token)
export CISTERN_TOKEN
if ! cistern domain list --json | grep -q "\"name\":\"$domain\""; then cistern domain add "$domain"; fi
# Image derivatives can be made again, so they need no trash.
cistern class set derivatives --domain "$domain" --prefix public/styles/,private/styles/ --no-trash
cistern token add drupal --domain "$domain" --scopes read,write >"$file.new"
chmod 444 "$file.new"
mv "$file.new" "$file"
