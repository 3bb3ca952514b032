#!/usr/bin/env bash
# Writes go.mod and go.sum for other versions: tests/cluster/gomod.sh KUBERNETES HELM KWOK, such as 1.37.2 3.22.0 0.8.0. It needs Go.
#
# Kubernetes asks for its own parts by their folder in its repository, which the module lacks; the same parts are published
# as v0.MINOR.PATCH.
set -euo pipefail
. "$(dirname "$0")/../../scripts/env.sh"
[ $# -eq 3 ] || die "usage: tests/cluster/gomod.sh KUBERNETES HELM KWOK"
cd "$(dirname "$0")"

parts=v0.${1#1.}
source=$(cd / && go mod download -json "k8s.io/kubernetes@v$1" | sed -n 's/.*"GoMod": "\(.*\)".*/\1/p')
{
    echo "module cluster"
    grep -E '^(go|godebug) ' "$source"
    printf 'tool (\n\thelm.sh/helm/v3/cmd/helm\n\tsigs.k8s.io/kwok/cmd/kwok\n)\n'
    printf 'require (\n\thelm.sh/helm/v3 v%s\n\tk8s.io/kubernetes v%s\n\tsigs.k8s.io/cli-utils %s\n\tsigs.k8s.io/kwok v%s\n)\n' "$2" "$1" "$parts" "$3"
    echo "replace ("
    sed -n "s|^\t\(k8s\.io/[^ ]*\) => \./staging/.*|\t\1 => \1 $parts|p" "$source"
    echo ")"
} >go.mod
go mod tidy
