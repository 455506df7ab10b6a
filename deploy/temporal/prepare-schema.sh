#!/bin/sh
# Creates Temporal's two databases, or brings their schemas up to date. Safe to repeat: a schema is set up only where
# there is none, because setting one up again resets its version, and every later update would then fail.
# The address and the user come from SQL_PLUGIN, SQL_HOST, SQL_PORT, SQL_USER and SQL_PASSWORD.
set -eu

prepare() {
  database=$1
  migrations=/etc/temporal/schema/postgresql/v12/$2/versioned
  if said=$(temporal-sql-tool --db "$database" update-schema -d "$migrations" 2>&1); then
    echo "The schema of $database is up to date."
    return
  fi
  # As the tool quotes it; a migration that fails may say that something else does not exist.
  case $said in
    *'database \"'"$database"'\" does not exist'* | *'relation \"schema_version\" does not exist'*) ;;
    *)
      echo "$said" >&2
      exit 1
      ;;
  esac
  echo "$database has no schema yet: setting it up."
  temporal-sql-tool --db "$database" create
  temporal-sql-tool --db "$database" setup-schema -v 0.0
  temporal-sql-tool --db "$database" update-schema -d "$migrations"
}

prepare temporal temporal
prepare temporal_visibility visibility
