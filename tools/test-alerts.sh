#!/usr/bin/env bash
# Checks the Prometheus rules of deploy/observability and runs their tests, with promtool. With --install it gets promtool from
# Debian's package, without installing that: it would start a server.
set -euo pipefail
cd "$(dirname "$0")/../deploy/observability"

promtool=$(command -v promtool || true)
if [[ -z $promtool && ${1:-} == --install ]] && command -v apt-get >/dev/null; then
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  if (cd "$folder" && apt-get update -qq && apt-get download -qq prometheus && dpkg-deb -x prometheus_*.deb .) >/dev/null; then
    promtool=$folder/usr/bin/promtool
  fi
fi
if [[ -z $promtool ]]; then
  echo 'Left out: the tests of alerts. They need promtool, of the Debian package prometheus.'
  exit 0
fi
"$promtool" check rules alerts.yaml
"$promtool" test rules alerts.test.yaml
