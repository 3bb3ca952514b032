#!/usr/bin/env bash
# Runs a command in a cluster's network, as its admin: tests/cluster/enter.sh COMMAND…
#
# Files and processes stay the machine's own. A server bound to 10.199.0.1 is in reach of the pods. What is started so
# outlives the cluster, and keeps its network: end it first.
set -euo pipefail
. "$(dirname "$0")/settings.sh"

[ $# -gt 0 ] || die "usage: tests/cluster/enter.sh COMMAND…"
pid=$(first_process) || die "cluster: none runs with its state in $STATE: run make cluster-up"
while IFS= read -r setting; do export "${setting?}"; done <"$STATE/environment"
exec nsenter --net="/proc/$pid/ns/net" -- "$@"
