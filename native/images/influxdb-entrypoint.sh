#!/bin/bash
# On an empty volume: start InfluxDB on loopback only, run /docker-entrypoint-initdb.d, stop it.
# Then become the real server.
set -euo pipefail

if [ "${1:-}" = influxd ] && [ ! -e /var/lib/influxdb/meta/meta.db ]; then
  INFLUXDB_HTTP_BIND_ADDRESS=127.0.0.1:8085 influxd &
  server=$!
  for _ in $(seq 300); do
    influx -port 8085 -execute 'SHOW DATABASES' >/dev/null 2>&1 && break
    kill -0 "$server" 2>/dev/null || { echo "influxd stopped while the databases were being made" >&2; exit 1; }
    sleep 0.1
  done
  for file in /docker-entrypoint-initdb.d/*; do
    case "$file" in
      *.sh) . "$file" ;;
      *.iql) influx -port 8085 -execute "$(cat "$file")" ;;
    esac
  done
  kill -TERM "$server"
  wait "$server" || true
fi
exec "$@"
