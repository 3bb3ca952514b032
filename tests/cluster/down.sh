#!/usr/bin/env bash
# Ends a cluster and removes all it left. Harmless when there is none.
set -euo pipefail
. "$(dirname "$0")/settings.sh"
[ -n "${STOCKSTREAM_CLUSTER_LOCKED-}" ] || lock

# Programs that enter.sh started aren't the namespaces' own: they live on, and keep the network. Names them.
name_strangers() {
    local net pids parent other
    net=$(readlink "/proc/$1/ns/net")
    pids=$(readlink "/proc/$1/ns/pid")
    # unshare, which leaves with its child.
    parent=/proc/$(ps -o ppid= "$1" | tr -d ' ')
    for other in /proc/[0-9]*; do
        [ "$(readlink "$other/ns/net")" = "$net" ] && [ "$(readlink "$other/ns/pid")" != "$pids" ] && [ "$other" != "$parent" ] || continue
        say "cluster: still in its network, please end it: ${other#/proc/} $(tr '\0' ' ' <"$other/cmdline")"
    done 2>/dev/null
}

if pid=$(first_process); then
    name_strangers "$pid" || true
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
