#!/usr/bin/env bash
# Runs what needs servers: the conformance and integration suites on PostgreSQL and Redis, and the replicas. Servers
# are named by TEST_DATABASE_URL and TEST_REDIS_URL; without them, those on this machine's usual ports are taken.
set -euo pipefail
cd "$(dirname "$0")/.."

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

if [[ -z ${TEST_DATABASE_URL:-} ]] && listens 5432; then
  TEST_DATABASE_URL=postgres://postgres@127.0.0.1:5432/test
fi
if [[ -z ${TEST_REDIS_URL:-} ]] && listens 6379; then
  TEST_REDIS_URL=redis://127.0.0.1:6379
fi
if [[ -z ${TEST_DATABASE_URL:-} || -z ${TEST_REDIS_URL:-} ]]; then
  echo 'Left out: the tests on PostgreSQL and Redis. Set TEST_DATABASE_URL and TEST_REDIS_URL to run them.'
  exit 0
fi
export TEST_DATABASE_URL TEST_REDIS_URL
# What runs that were killed have left behind would slow down every migration.
if command -v psql >/dev/null; then
  psql -qtA "$TEST_DATABASE_URL" -c "select format('drop schema %I cascade', nspname) from pg_namespace where nspname like 'test\_%'" |
    psql -q "$TEST_DATABASE_URL" >/dev/null 2>&1 || true
  # Thousands of dropped schemas leave dead rows in the catalogs, which make each test several times as slow. Some servers of
  # tests run without autovacuum.
  catalogs='pg_attribute pg_attrdef pg_class pg_constraint pg_depend pg_index pg_shdepend pg_statistic pg_trigger pg_type'
  for catalog in $catalogs; do
    psql -q "$TEST_DATABASE_URL" -c "vacuum full $catalog" >/dev/null 2>&1 || true
  done
  while sleep 10; do
    psql -q "$TEST_DATABASE_URL" -c "vacuum (analyze, truncate off) ${catalogs// /, }" || true
  done >/dev/null 2>&1 &
  trap "kill $! || true" EXIT
fi
if ! command -v pgbouncer >/dev/null; then
  echo 'Left out: the tests through PgBouncer, which is not installed (tools/install-pgbouncer.sh).'
fi
tools/install-s3-server.sh
npm run build --silent
# Left out, because they use no database of the service, or only to start it: tests of pictures, of the file store, of the sandbox, of
# engines, of traces and of alerts; of the client package, the console, origins, hostile requests and the log on a terminal
# (engines-sandbox.test.ts repeats on the sandbox what engines.test.ts tests). Those that always use SQLite. The simulation of
# queue-fairness.test.ts, which tests the order, not the database.
npm run test:jest --silent -- test/services test/contract test/integration \
  --testPathIgnorePatterns 'test/integration/(picture|renditions|sandbox|engines-sandbox|queue-fairness|tracing|observability|operation-records|upstream-keys)' \
  'test/integration/(client|upscale-store|scripted-gateway|console|origins|terminal|bad-requests|connections|odd-documents|hostile-sockets|signature|names|proxies)' \
  'test/integration/((queue-|fallback-)?kill|process|sqlite-operation)' 'test/contract/(file-store|engines)' "$@"
