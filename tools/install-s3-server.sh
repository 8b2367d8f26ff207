#!/usr/bin/env bash
# Installs OpenStack Swift, the S3 server of test/services/s3-store.test.ts, where that is possible; the tests are skipped
# without it. Only its library: test/s3/server.py runs it in one process, and no service is started.
set -euo pipefail

if /usr/bin/python3 -c 'import swift.common.middleware.s3api' 2>/dev/null; then
  exit 0
elif ! command -v apt-get >/dev/null || ((EUID != 0)); then
  echo 'Swift is not installed, and only root can install it with apt-get: the tests of the S3 store are skipped.'
elif ! {
  apt-get -o DPkg::Lock::Timeout=300 update -qq &&
    DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends python3-swift
} >/dev/null; then
  echo 'Swift could not be installed: the tests of the S3 store are skipped.'
fi
