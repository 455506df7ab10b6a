#!/bin/sh
# Makes what a checkout needs to run: npm packages, then the build, each only where missing or stale. May be
# interrupted and repeated, and two at once wait for each other. Needs Node ≥ 20 with npm; the packages bring the
# newer Node that everything else runs on.
set -eu
cd "$(dirname "$0")/.."
root=$PWD

fail() {
  printf '✗ %s\n  why: %s\n  fix: %s\n' "$1" "$2" "$3" >&2
  exit 1
}

deps_are_fresh() {
  [ -x node_modules/.bin/node ] && [ -f node_modules/.package-lock.json ] &&
    ! [ package-lock.json -nt node_modules/.package-lock.json ]
}

build_is_fresh() {
  [ -f dist/build.json ] && ! [ node_modules/.package-lock.json -nt dist/build.json ] &&
    [ -z "$(find core workflows activities workers client cli stack scripts/build.ts package.json \
      -newer dist/build.json -print -quit)" ]
}

install_deps() {
  command -v npm >/dev/null ||
    fail 'npm is missing' "mcli is a Node program, and installs its packages with npm" \
      'install Node 20 or newer with npm (https://nodejs.org), then run the same command again'
  echo "mcli: installing the npm packages of this checkout (about 650 MB on disk, once per version) …"
  started=$(date +%s)
  # Without network npm would wait a minute and a half before it says so.
  npm ci --no-audit --no-fund --no-update-notifier --loglevel=error --fetch-retry-mintimeout=1000 \
    --fetch-retry-maxtimeout=5000 ||
    fail "set-up stopped at step 1 of 2: npm ci, in $root" 'see the lines of npm above' \
      'connect to the network (or set HTTPS_PROXY, or a registry with `npm config set registry URL`), then run the same command again'
  # An npm that runs no install scripts leaves the newer Node unpacked but not in place.
  [ -x node_modules/.bin/node ] || (cd node_modules/node && node installArchSpecificPackage.js) ||
    fail 'the newer Node is not in place' "npm did not run the install script of the package 'node'" \
      'allow it with `npm config set ignore-scripts false`, remove node_modules, and run the same command again'
  echo "mcli: npm packages installed in $(($(date +%s) - started)) s"
}

build() {
  echo 'mcli: building (a few seconds, after every change of the sources) …'
  npm run --silent build || fail 'set-up stopped at step 2 of 2: npm run build' 'see the lines above' \
    'mend the sources it names; if they are untouched, remove node_modules and run the same command again'
}

# flock comes with every Linux; without it, as on macOS, two set-ups at once are not kept apart.
if command -v flock >/dev/null; then
  exec 9<package.json
  flock -n 9 || {
    echo 'mcli: another set-up of this checkout is at work; waiting for it …'
    flock 9
  }
fi

if ! deps_are_fresh; then install_deps; fi
if ! build_is_fresh; then build; fi
