#!/bin/bash
# Health check of a container: whether the service at [HOST:]PORT is ready. By the shell alone: it runs every few
# seconds, and starting a Node for it would cost more than the service does when idle.
host=127.0.0.1
[[ $1 = *:* ]] && host=${1%:*}
exec 3<>"/dev/tcp/$host/${1##*:}" && printf 'GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3 || exit 1
read -r -t 4 _ status _ <&3
[ "$status" = 200 ]
