#!/usr/bin/env bash
# Installs PgBouncer for test/services/pgbouncer.test.ts, where that is possible; the tests are skipped without it.
set -euo pipefail

if command -v pgbouncer >/dev/null; then
  exit 0
elif ! command -v apt-get >/dev/null || ((EUID != 0)); then
  echo 'PgBouncer is not installed, and only root can install it with apt-get: its tests are skipped.'
elif ! { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq pgbouncer; } >/dev/null; then
  echo 'PgBouncer could not be installed: its tests are skipped.'
fi
