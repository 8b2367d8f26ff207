#!/usr/bin/env bash
# Runs test/browser in a real Chromium: the program that CHROMIUM names, or the first of the usual ones. CI installs it.
# The frameworks and GraphQL clients are installed into test/browser (some 200 MB, most of it relay-compiler), apart from the
# project's own packages.
set -euo pipefail
cd "$(dirname "$0")/.."

find_browser() {
  command -v "${CHROMIUM:-chromium}" || command -v chromium-browser || command -v google-chrome || true
}

CHROMIUM=$(find_browser)
if [[ -z $CHROMIUM && -n ${CI:-} ]] && command -v apt-get > /dev/null; then
  apt-get -o DPkg::Lock::Timeout=300 update > /dev/null
  DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends chromium > /dev/null
  CHROMIUM=$(find_browser)
fi
if [[ -z $CHROMIUM ]]; then
  echo 'test:browser: skipped, because there is no Chromium. Install one, or name it with CHROMIUM=/path/to/it.'
  exit 0
fi
export CHROMIUM BROWSER=1

[[ test/browser/node_modules/.package-lock.json -nt test/browser/package-lock.json ]] || npm ci --prefix test/browser
NODE_OPTIONS='--experimental-vm-modules --disable-warning=ExperimentalWarning' exec npx jest test/browser --runInBand "$@"
