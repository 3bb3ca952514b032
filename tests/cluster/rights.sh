#!/usr/bin/env bash
# Says what this machine lacks for a cluster, and fails; quiet when nothing is missing.
set -euo pipefail
. "$(dirname "$0")/settings.sh"

[ "$(uname -s)" = Linux ] || die "cluster: it runs on Linux only; here is $(uname -s)"
[ "$(id -u)" -eq 0 ] ||
    die "cluster: a cluster for the tests needs root: it makes namespaces, cgroups, bridges and iptables rules of its own.
Run the same as root: sudo --preserve-env=PATH,HOME,STOCKSTREAM_CACHE,CARGO_HOME,RUSTUP_HOME make …"
unshare --mount --net --pid --fork --mount-proc true 2>/dev/null ||
    die "cluster: root may not make namespaces here (unshare --mount --net --pid failed).
In a container it needs CAP_SYS_ADMIN and CAP_NET_ADMIN and no filter of system calls: docker run --privileged"
for group in $(cgroups); do
    mkdir -p "$group" 2>/dev/null && rmdir "$group" 2>/dev/null || [ -d "$group" ] ||
        die "cluster: no cgroup can be made in $(dirname "$group"): it must be writable (docker run --privileged)"
done
# A socket's path has at most 108 bytes.
[ "${#STATE}" -le 80 ] || die "cluster: the path of its state is too long (more than 80 characters): $STATE; set STOCKSTREAM_CLUSTER to a shorter one"
[[ $STATE =~ ^[A-Za-z0-9/._@+-]+$ ]] || die "cluster: the path of its state may have letters, digits and any of / . _ @ + - only: $STATE; set STOCKSTREAM_CLUSTER to another"
# Inside, these are directories of the cluster's own.
for path in "$STATE" "$kube" "$root"; do
    case $path/ in
        /run/* | /var/lib/* | /var/log/* | /var/run/*) die "cluster: $path can't lie below /run, /var/lib or /var/log, which the cluster covers; set STOCKSTREAM_CACHE to another place" ;;
    esac
done
