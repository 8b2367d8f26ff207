#!/usr/bin/env bash
# Runs our subgraph behind real gateways: Hive Gateway and Apollo Gateway, as processes. Their packages are
# installed into test/supergraph (some 650 MB), apart from the project's own.
set -euo pipefail
cd "$(dirname "$0")/.."

[[ -d test/supergraph/node_modules ]] || npm ci --prefix test/supergraph
npm run build --silent
SUPERGRAPH=on npm run test:jest --silent -- test/supergraph "$@"
