#!/usr/bin/env bash
# Builds Kubernetes and what is tried on it; scripts/setup.sh cluster calls it: tests/cluster/build.sh GO DESTINATION
#
# The caches are where GOMODCACHE and GOCACHE say. One module for all, so that what they share is compiled once.
set -euo pipefail
cd "$(dirname "$0")"

go=$1 destination=$2
# Static, so that an image needs nothing else. What the machine sets for Go otherwise is not ours, but for where modules
# come from.
unset GOROOT GOBIN
export CGO_ENABLED=0 GOTOOLCHAIN=local GOWORK=off GOFLAGS='-buildvcs=false -modcacherw -mod=readonly'
mkdir -p "$destination/bin"

version() { "$go" list -m -f '{{.Version}}' "$1"; }
# build NAME PACKAGE [LINKER-FLAG]
build() { "$go" build -trimpath -ldflags "-s -w ${3-}" -o "$destination/bin/$1" "$2"; }

kubernetes=$(version k8s.io/kubernetes)
minor=${kubernetes#v1.}
component=k8s.io/component-base/version
# Without these the server calls itself v0.0.0, and charts that ask for a version refuse.
build kube ./kube "-X $component.gitVersion=$kubernetes -X $component.gitMajor=1 -X $component.gitMinor=${minor%%.*} -X $component.gitTreeState=clean"
for name in etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl kstatus; do
    ln -sf kube "$destination/bin/$name"
done
build helm helm.sh/helm/v3/cmd/helm "-X helm.sh/helm/v3/internal/version.version=$(version helm.sh/helm/v3)"
build kwok sigs.k8s.io/kwok/cmd/kwok "-X sigs.k8s.io/kwok/pkg/consts.Version=$(version sigs.k8s.io/kwok)"
build pause ./pause
build probe ./probe

# Without its stages kwok does nothing: nodes that become ready, pods that run, complete and go.
stages=$("$go" list -m -f '{{.Dir}}' sigs.k8s.io/kwok)/kustomize/stage
for stage in "$stages"/node/fast/node-initialize.yaml "$stages"/pod/fast/pod-{ready,complete,delete}.yaml; do
    cat "$stage"
    printf '\n---\n'
done >"$destination/kwok-stages.yaml"
