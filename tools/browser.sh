#!/bin/sh
# Installs Debian's Chromium, which the tests of `polymodal ui` drive; `make browser` calls it.
# Where that cannot be, it says so and ends well: those tests are then skipped.
set -u

if command -v chromium >/dev/null 2>&1; then
    exit 0
fi
if ! command -v apt-get >/dev/null 2>&1 || [ "$(id -u)" -ne 0 ]; then
    echo "there is no chromium, and no apt-get as root to install it: the tests of the page are skipped"
    exit 0
fi
log=$(mktemp)
export DEBIAN_FRONTEND=noninteractive
if apt-get update -qq >"$log" 2>&1 &&
    apt-get install -y -qq --no-install-recommends chromium fonts-noto-core >>"$log" 2>&1; then
    chromium --version
else
    tail -n 3 "$log"
    echo "chromium could not be installed: the tests of the page are skipped"
fi
rm -f "$log"
