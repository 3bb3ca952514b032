#!/usr/bin/env bash
# The first process of a cluster's namespaces; up.sh starts it with the directory of its state.
set -euo pipefail
STOCKSTREAM_CLUSTER=$1
. "$(dirname "$0")/settings.sh"

# Mounts that only the cluster sees: its programs have their usual directories, and leave nothing in the machine's. Nothing
# may be mounted on a directory that is made for it: another cluster's end would remove that, and the mount with it.
mounts() {
    mount --make-rshared /
    mount -t tmpfs tmpfs /run
    mount -t tmpfs tmpfs /var/lib
    mkdir -p /run/lock /var/lib/kubelet /var/lib/cni
    mount --bind "$STATE/kubelet" /var/lib/kubelet
    mount --bind "$STATE/log" /var/log
}

# The kubelet sets these for the whole machine if they aren't so. It finds them so, and the machine keeps its own.
show_kubelet() {
    local file=/proc/sys/$1
    [ -e "$file" ] || return 0
    mkdir -p "/run/shown/$(dirname "$1")"
    echo "$2" >"/run/shown/$1"
    mount --bind "/run/shown/$1" "$file"
}

# A loopback and the pods' bridge. Without a default route, so that nothing leaves.
network() {
    ip link set lo up
    ip link add cni0 type bridge
    ip address add "$GATEWAY/24" dev cni0
    ip link set cni0 up
    # A route is looked up before kube-proxy's rules rewrite the address.
    ip route add "$SERVICES" dev cni0
    echo 1 >/proc/sys/net/ipv4/ip_forward
    # Pods that meet through a service are on one bridge: their packets must pass the rules, too.
    echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables
}

run() {
    "$@" >"/var/log/$1.log" 2>&1 &
}

mounts
show_kubelet vm/overcommit_memory 1
show_kubelet vm/panic_on_oom 0
show_kubelet kernel/panic 10
show_kubelet kernel/panic_on_oops 1
show_kubelet kernel/keys/root_maxkeys 1000000
show_kubelet kernel/keys/root_maxbytes 25000000
network

run etcd --data-dir "$STATE/etcd" --unsafe-no-fsync \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380
run containerd --config "$STATE/containerd.toml"
run kube-apiserver \
    --etcd-servers=http://127.0.0.1:2379 --advertise-address="$GATEWAY" --cert-dir="$STATE/pki" \
    --service-cluster-ip-range="$SERVICES" --authorization-mode=Node,RBAC --token-auth-file="$STATE/pki/tokens.csv" \
    --enable-admission-plugins=NodeRestriction --allow-privileged \
    --service-account-issuer=https://kubernetes.default.svc \
    --service-account-key-file="$STATE/pki/service-account.pub" \
    --service-account-signing-key-file="$STATE/pki/service-account.key" \
    --kubelet-client-certificate="$STATE/pki/kubelet-client.crt" --kubelet-client-key="$STATE/pki/kubelet-client.key" \
    --kubelet-preferred-address-types=InternalIP
until [ -s "$STATE/pki/apiserver.crt" ] && kubectl --kubeconfig "$STATE/admin.kubeconfig" get --raw /readyz >/dev/null 2>&1; do
    sleep 0.2
done
run kube-controller-manager --kubeconfig="$STATE/controller-manager.kubeconfig" --leader-elect=false \
    --bind-address=127.0.0.1 --cert-dir=/run/controller-manager --use-service-account-credentials \
    --root-ca-file="$STATE/pki/apiserver.crt" --service-account-private-key-file="$STATE/pki/service-account.key"
run kube-scheduler --kubeconfig="$STATE/scheduler.kubeconfig" --leader-elect=false \
    --bind-address=127.0.0.1 --cert-dir=/run/scheduler
run kubelet --kubeconfig="$STATE/kubelet.kubeconfig" --config="$STATE/kubelet.yaml" \
    --hostname-override="$NODE" --node-ip="$GATEWAY"
# It would write the size of the machine's connection table, which a namespace may not.
run kube-proxy --kubeconfig="$STATE/proxy.kubeconfig" --hostname-override="$NODE" \
    --proxy-mode=iptables --cluster-cidr="$PODS" --conntrack-max-per-core=0
# The containers' shims leave processes behind; bash reaps them.
wait
