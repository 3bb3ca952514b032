# Where a cluster's things are and what it is made of; sourced by the other scripts here.
# shellcheck shell=bash
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/env.sh"

# One cluster: its keys, data and logs. Another directory is another cluster; any number may run at once.
STATE=${STOCKSTREAM_CLUSTER:-$STOCKSTREAM_CACHE/cluster-state/developer}

NODE=node1
GATEWAY=10.199.0.1 # at once the node's address, the pods' gateway and the API server's address
PODS=10.199.0.0/24
SERVICES=10.96.0.0/16
# Parent of every pod's cgroup; cgroups are the machine's, so each cluster has a name of its own.
CGROUP=stockstream-$(printf %s "$STATE" | cksum | cut -d' ' -f1)

# Debian's place for the plugins of pods' networks, and the usual one elsewhere.
cni_plugins=/usr/lib/cni
[ -e "$cni_plugins/bridge" ] || cni_plugins=/opt/cni/bin

# Our kubectl and helm before the machine's, which may be old or wrappers.
PATH=$kube/bin:$PATH

# The directories that have a cgroup of the cluster: the hierarchy of version 2, or each of version 1.
cgroups() {
    if [ -e /sys/fs/cgroup/cgroup.controllers ]; then echo "/sys/fs/cgroup/$CGROUP"; else printf "%s$CGROUP\n" /sys/fs/cgroup/*/; fi
}

# The process that is PID 1 of the cluster's namespaces, as the machine numbers it; fails when none runs. A number may have
# been given to another process since: its command line tells.
first_process() {
    local pid
    pid=$(cat "$STATE/pid" 2>/dev/null) && tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -qxF "$STATE" && echo "$pid"
}

# Starting and ending exclude each other. Whatever is started meanwhile must not inherit the lock.
lock() {
    mkdir -p "$(dirname "$STATE")"
    exec 9>"$(dirname "$STATE")/lock"
    flock 9
}
