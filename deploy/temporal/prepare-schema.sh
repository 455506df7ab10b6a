#!/bin/sh
# Creates Temporal's two databases, or brings their schemas up to date. Safe to repeat: an existing database is only
# ever updated, because setting it up again resets its version, and the next update would then fail.
# The address and the user come from SQL_PLUGIN, SQL_HOST, SQL_PORT, SQL_USER and SQL_PASSWORD.
set -eu

prepare() {
  database=$1
  migrations=/etc/temporal/schema/postgresql/v12/$2/versioned
  if temporal-sql-tool --db "$database" update-schema -d "$migrations"; then
    echo "The schema of $database is up to date."
    return
  fi
  echo "$database has no schema yet: setting it up."
  temporal-sql-tool --db "$database" create
  temporal-sql-tool --db "$database" setup-schema -v 0.0
  temporal-sql-tool --db "$database" update-schema -d "$migrations"
}

prepare temporal temporal
prepare temporal_visibility visibility
