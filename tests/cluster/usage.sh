#!/usr/bin/env bash
# Tells a person how to use the cluster that runs.
set -euo pipefail
. "$(dirname "$0")/settings.sh"

cat <<END

A Kubernetes of one node, in a network of its own: its addresses can be reached from there only.
  make cluster-shell                        a shell in its network, with kubectl, helm, kwok, kstatus and ctr
  tests/cluster/enter.sh kubectl get pods   one command
  tests/cluster/image.py                    makes an image of a static binary, without a container engine
  make cluster-down                         ends it; nothing of it stays
KUBECONFIG: $STATE/admin.kubeconfig (good within its network)
Logs:       $STATE/log
A server bound to $GATEWAY there, such as one that stands in for AWS, is in reach of the pods.
END
