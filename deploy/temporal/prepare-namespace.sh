#!/bin/sh
# Creates the namespace of the runs, keeps its history at 14 days, and registers what runs can be searched by. Safe to
# repeat; TEMPORAL_ADDRESS names the server.
set -eu

namespace=mcli
retention=14d

# Repeats a command for up to a minute, and then says what it said last.
patiently() {
  attempts=30
  until said=$("$@" 2>&1); do
    attempts=$((attempts - 1))
    if [ "$attempts" -eq 0 ]; then
      echo "Temporal at $TEMPORAL_ADDRESS does not get ready: $said" >&2
      exit 1
    fi
    sleep 2
  done
}

patiently temporal operator cluster health

if temporal operator namespace describe --namespace "$namespace" >/dev/null 2>&1; then
  temporal operator namespace update --namespace "$namespace" --retention "$retention"
else
  temporal operator namespace create --namespace "$namespace" --retention "$retention"
fi

# The server needs a moment until it knows a new namespace everywhere.
patiently temporal operator search-attribute list --namespace "$namespace"
known=$said

# The same as core/search-attributes.ts.
for attribute in \
  RunStatus=Keyword RunReason=Keyword RunUser=Keyword Cluster=Keyword Priority=Keyword GpuType=Keyword \
  NodeNames=KeywordList Metadata=KeywordList Gpus=Int Nodes=Int Resumption=Int RunStarted=Datetime \
  RunEnded=Datetime; do
  name=${attribute%=*}
  type=${attribute#*=}
  if echo "$known" | grep -qw "$name"; then continue; fi
  temporal operator search-attribute create --namespace "$namespace" --name "$name" --type "$type"
done
echo "Namespace $namespace is ready: history $retention, search attributes registered."
