#!/usr/bin/env bash
# Ends a cluster and removes all it left. Harmless when there is none.
#
# STOCKSTREAM_CLUSTER_ORPHANED  set when its owner is dead: what that left in the cluster's network is ended, too
set -euo pipefail
. "$(dirname "$0")/settings.sh"
[ -n "${STOCKSTREAM_CLUSTER_LOCKED-}" ] || lock

# Programs that enter.sh started aren't the namespaces' own: they live on, and keep the network. Names those of a person.
strangers() {
    local net pids parent other
    net=$(readlink "/proc/$1/ns/net")
    pids=$(readlink "/proc/$1/ns/pid")
    # unshare, which leaves with its child.
    parent=/proc/$(ps -o ppid= "$1" | tr -d ' ')
    for other in /proc/[0-9]*; do
        [ "$(readlink "$other/ns/net" 2>/dev/null)" = "$net" ] && [ "$(readlink "$other/ns/pid" 2>/dev/null)" != "$pids" ] && [ "$other" != "$parent" ] || continue
        if [ -n "${STOCKSTREAM_CLUSTER_ORPHANED-}" ]; then
            kill -KILL "${other#/proc/}" 2>/dev/null || true
        else
            say "cluster: still in its network, please end it: ${other#/proc/} $(tr '\0' ' ' <"$other/cmdline")"
        fi
    done
}

if pid=$(first_process); then
    strangers "$pid" || true
    # The kernel ends all others of its namespace with it.
    kill -KILL "$pid"
    while [ -d "/proc/$pid" ]; do sleep 0.05; done
fi
for group in $(cgroups); do
    # The last process of a group may not be reaped yet.
    for _ in $(seq 100); do
        [ -d "$group" ] || break
        find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.05
    done
    [ ! -d "$group" ] || say "cluster: a process is left in $group"
done
rm -rf --one-file-system "$STATE"
