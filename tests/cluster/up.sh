#!/usr/bin/env bash
# Starts a cluster of one node and waits until pods can be made; does nothing if it runs. tests/cluster/up.sh [IMAGE.tar…]
#
# All of it lives in mount, network and PID namespaces of its own, with no link to the machine's network: when their first
# process ends (inside.sh), every process, mount and interface of it is gone. What is left then is $STATE and cgroups,
# which down.sh removes.
#
# STOCKSTREAM_CLUSTER        where its state is kept
# STOCKSTREAM_CLUSTER_OWNER  a file that a process has locked (flock): when it ends, however it does, the cluster goes, too
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd -P)
. "$here/settings.sh"
enter() { "$here/enter.sh" "$@"; }

[ -e "$kube/complete" ] || die "cluster: Kubernetes isn't built yet: run scripts/setup.sh cluster"
"$here/rights.sh"
lock
if first_process >/dev/null && enter kubectl get --raw /readyz >/dev/null 2>&1; then
    say "cluster: it runs already"
    exit 0
fi

# Clusters whose owner has ended without their end.
for owner in "$(dirname "$STATE")"/*.owner; do
    if [ -e "$owner" ] && flock --nonblock "$owner" true; then
        say "cluster: taking away what a killed run left: ${owner%.owner}"
        STOCKSTREAM_CLUSTER=${owner%.owner} STOCKSTREAM_CLUSTER_ORPHANED=1 STOCKSTREAM_CLUSTER_LOCKED=1 "$here/down.sh"
        rm -f "$owner"
    fi
done
STOCKSTREAM_CLUSTER_LOCKED=1 "$here/down.sh"

keys() {
    mkdir -p "$STATE/pki"
    chmod 700 "$STATE"
    cd "$STATE/pki"
    openssl genrsa -out service-account.key 2048 2>/dev/null
    openssl rsa -in service-account.key -pubout -out service-account.pub 2>/dev/null
    # The API server makes its own certificate for those who call it. This one it shows when it calls the kubelet, where it
    # is its own authority.
    openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /O=system:masters/CN=kube-apiserver \
        -addext extendedKeyUsage=clientAuth -keyout kubelet-client.key -out kubelet-client.crt 2>/dev/null
    # One token per user: its file, name and group.
    : >tokens.csv
    user admin admin system:masters
    user controller-manager system:kube-controller-manager none
    user scheduler system:kube-scheduler none
    user proxy system:kube-proxy none
    user kubelet "system:node:$NODE" system:nodes
}

# user FILE NAME GROUP
user() {
    local token
    token=$(openssl rand -hex 16)
    echo "$token,$2,$2,\"$3\"" >>tokens.csv
    cat >"$STATE/$1.kubeconfig" <<KUBECONFIG
apiVersion: v1
kind: Config
current-context: test
contexts: [{name: test, context: {cluster: test, user: test}}]
clusters: [{name: test, cluster: {server: "https://$GATEWAY:6443", certificate-authority: $STATE/pki/apiserver.crt}}]
users: [{name: test, user: {token: $token}}]
KUBECONFIG
}

configurations() {
    mkdir -p "$STATE"/{etcd,containerd,kubelet,net.d,log}
    cat >"$STATE/containerd.toml" <<TOML
version = 2
root = "$STATE/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
address = "$STATE/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "test.local/pause:1"
# Without CAP_SYS_RESOURCE runc may not go below our own score, and would fail with "can't get final child's PID from pipe".
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "$cni_plugins"
conf_dir = "$STATE/net.d"
TOML
    cat >"$STATE/net.d/10-bridge.conflist" <<JSON
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "/run/cni-addresses", "ranges": [[{"subnet": "$PODS", "gateway": "$GATEWAY"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
JSON
    : >"$STATE/resolv.conf"
    cat >"$STATE/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: /$CGROUP
containerRuntimeEndpoint: unix://$STATE/containerd.sock
resolvConf: $STATE/resolv.conf
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
failSwapOn: false
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $STATE/pki/kubelet-client.crt}}
authorization: {mode: Webhook}
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 100Mi, nodefs.available: "1%", nodefs.inodesFree: "1%", imagefs.available: "1%"}
nodeStatusUpdateFrequency: 5s
YAML
    # For whoever uses the cluster: enter.sh, and the suites. What they would keep at home is kept here.
    cat >"$STATE/environment" <<ENVIRONMENT
PATH=$PATH
STOCKSTREAM_KUBE=$kube
KUBECONFIG=$STATE/admin.kubeconfig
KUBECACHEDIR=$STATE/client/kube
HELM_CACHE_HOME=$STATE/client/helm/cache
HELM_CONFIG_HOME=$STATE/client/helm/config
HELM_DATA_HOME=$STATE/client/helm/data
CONTAINERD_ADDRESS=$STATE/containerd.sock
CONTAINERD_NAMESPACE=k8s.io
NO_PROXY=*
no_proxy=*
ENVIRONMENT
}

# It must exist before the kubelet starts; cpuset's start empty in version 1 and refuse processes until they are filled.
make_cgroups() {
    local group file
    for group in $(cgroups); do
        mkdir -p "$group"
        for file in cpuset.cpus cpuset.mems; do
            [ -e /sys/fs/cgroup/cgroup.controllers ] || [ ! -e "$group/$file" ] || cat "$(dirname "$group")/$file" >"$group/$file"
        done
    done
}

start() {
    local pid='' unshare
    setsid unshare --mount --net --pid --fork --kill-child --mount-proc \
        bash "$here/inside.sh" "$STATE" >"$STATE/log/inside.log" 2>&1 </dev/null 9>&- &
    unshare=$!
    for _ in $(seq 100); do
        pid=$(pgrep -P "$unshare" || true)
        [ -z "$pid" ] || break
        sleep 0.05
    done
    [ -n "$pid" ] || fail "it ended at once"
    echo "$pid" >"$STATE/pid"
}

watch_owner() {
    [ -n "${STOCKSTREAM_CLUSTER_OWNER-}" ] || return 0
    # The lock is granted when the owner has ended; one that has ended its cluster itself has removed the file.
    setsid bash -c 'exec 8<"$1"; flock 8; [ ! -e "$1" ] || { STOCKSTREAM_CLUSTER_ORPHANED=1 "$2"; rm -f "$1"; }' watch "$STOCKSTREAM_CLUSTER_OWNER" "$here/down.sh" >/dev/null 2>&1 </dev/null 9>&- &
}

# The logs go with the state: their ends are told.
fail() {
    local log
    for log in "$STATE"/log/*.log; do
        say "--- $log"
        tail -n 5 "$log" >&2
    done
    die "cluster: $1"
}

# until_ok SECONDS WHAT COMMAND…
until_ok() {
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        first_process >/dev/null || fail "it ended before this was there: $what"
        [ "$SECONDS" -lt "$end" ] || fail "not there in time: $what"
        sleep 0.2
    done
}

begin=$SECONDS
keys
configurations
make_cgroups
start
watch_owner
flock --unlock 9

"$here/image.py" test.local/pause:1 "$STATE/pause.tar" /pause "$kube/bin/pause"
until_ok 60 "containerd" test -S "$STATE/containerd.sock"
for image in "$STATE/pause.tar" "$@"; do
    until_ok 60 "the image of $image" enter ctr images import "$image"
done
until_ok 120 "the API server" enter kubectl get --raw /readyz
until_ok 120 "the node" enter kubectl wait --for=condition=Ready "node/$NODE" --timeout=5s
# It comes last; without it no pod can be made.
until_ok 120 "the default service account" enter kubectl get serviceaccount default
say "cluster: up after $((SECONDS - begin)) s: $("$here/enter.sh" kubectl version | tr '\n' ' ')"
