#!/usr/bin/env bash
# Runs our subgraph behind real gateways (Hive Gateway with both of its planners, Grafbase and Apollo Gateway, as processes),
# and with real clients (Apollo Client, urql). Their packages are installed into test/supergraph (some 800 MB), apart from the
# project's own.
set -euo pipefail
cd "$(dirname "$0")/.."

[[ test/supergraph/node_modules/.package-lock.json -nt test/supergraph/package-lock.json ]] || npm ci --prefix test/supergraph
npm run build --silent
SUPERGRAPH=on npm run test:jest --silent -- test/supergraph "$@"
