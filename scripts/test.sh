#!/bin/sh
# `npm test`: makes all that the tests need (packages, build, servers, Docker, starter image), runs them, and prints
# how many passed and failed as the last line. Arguments go to Vitest: `npm test -- test/core`.
set -eu
cd "$(dirname "$0")/.."
sh scripts/bootstrap.sh
PATH=$PWD/node_modules/.bin:$PATH
settings=$(node --disable-warning=ExperimentalWarning scripts/prepare-tests.ts)
eval "$settings"
report=$(mktemp)
trap 'rm -f "$report"' EXIT
code=0
vitest run --reporter=default --reporter=json --outputFile.json="$report" "$@" || code=$?
node scripts/count-tests.ts "$report" "$code"
exit "$code"
