//! What the cluster itself promises: its tools, and that it and the machine leave each other alone.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, ensure};
use stockstream_tests::cluster::Cluster;
use stockstream_tests::{Finished, PATIENCE, Process, repository, scratch, wait_until};

pub fn kstatus(cluster: &Cluster, namespace: &str) -> anyhow::Result<()> {
    let pipeline = format!(
        "kubectl create deployment mine --namespace {namespace} --image test.local/none:1 --replicas 1 --output json | kstatus &&
         kubectl get deployment mine --namespace {namespace} --output json | kstatus &&
         kubectl scale deployment mine --namespace {namespace} --replicas 0 &&
         kubectl rollout status deployment mine --namespace {namespace} --timeout 100s &&
         kubectl get deployment mine --namespace {namespace} --output json | kstatus"
    );
    let told = cluster.run("sh", ["-c", &pipeline])?.success()?.stdout;
    let statuses = |word| told.lines().filter(|line| *line == word).count();
    ensure!(
        statuses("InProgress") == 2 && statuses("Current") == 1,
        "{told}"
    );
    let refused = cluster.run("kstatus", [""; 0])?;
    ensure!(
        !refused.status.success() && refused.stderr.contains("stdin"),
        "{refused:?}"
    );
    Ok(())
}

/// A node that only kwok knows, with more pods than the real one would like.
pub fn fake_nodes(cluster: &Cluster, namespace: &str) -> anyhow::Result<()> {
    const PODS: usize = 20;
    let stages = format!("--config={}", cluster.built("kwok-stages.yaml")?.display());
    let mut kwok = cluster.command("kwok");
    kwok.args([
        &stages,
        "--manage-all-nodes=false",
        "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
        "--node-lease-duration-seconds=40",
    ]);
    let kwok = cluster.spawn(&mut kwok)?;
    let mut objects = String::from(
        "{apiVersion: v1, kind: Node, metadata: {name: fake, annotations: {kwok.x-k8s.io/node: fake}, labels: {type: fake}},
spec: {taints: [{key: fake, effect: NoSchedule}]}}\n",
    );
    for number in 0..PODS {
        write!(
            objects,
            "---\n{{apiVersion: v1, kind: Pod, metadata: {{name: pod-{number}}}, spec: {{nodeSelector: {{type: fake}},
tolerations: [{{operator: Exists}}], containers: [{{name: none, image: test.local/none:1}}]}}}}\n"
        )?;
    }
    cluster.apply(namespace, &objects)?;
    cluster
        .wait(namespace, "node/fake", "condition=Ready")
        .and_then(|()| {
            cluster.kubectl([
                "wait",
                "--namespace",
                namespace,
                "pods",
                "--all",
                "--for=condition=Ready",
                "--timeout=100s",
            ])
        })
        .with_context(|| format!("kwok said: {}{}", kwok.stdout(), kwok.stderr()))?;
    let pods = cluster.get(namespace, &["pods"])?;
    let pods = pods["items"].as_array().context("a list")?;
    ensure!(pods.len() == PODS, "{} pods", pods.len());
    ensure!(
        pods.iter().all(|pod| pod["spec"]["nodeName"] == "fake"),
        "{pods:?}"
    );
    // kwok, which takes the pods' end for done, must live until they are gone.
    cluster.kubectl(["delete", "pods", "--all", "--namespace", namespace])?;
    cluster.kubectl(["delete", "node", "fake"])?;
    Ok(())
}

pub fn namespace(cluster: &Cluster, namespace: &str) -> anyhow::Result<()> {
    let inner = format!("{namespace}-inner");
    cluster.kubectl(["create", "namespace", &inner])?;
    cluster.apply(
        &inner,
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: mine}}",
    )?;
    cluster.kubectl(["delete", "namespace", &inner])?;
    let gone = cluster.run(
        "kubectl",
        ["get", "configmap", "mine", "--namespace", &inner],
    )?;
    ensure!(gone.stderr.contains("NotFound"), "{gone:?}");
    Ok(())
}

/// As when a suite is killed: nobody ends the second one, but for who looks after its owner.
pub fn second(cluster: &Cluster, _: &str) -> anyhow::Result<()> {
    let folder = scratch()?;
    let (state, owner) = (
        folder.path().join("second"),
        folder.path().join("second.owner"),
    );
    let mut held = Command::new("flock");
    held.arg(&owner).args(["sh", "-c", "echo held; sleep 600"]);
    let mut held = Process::spawn_group(&mut held)?;
    held.wait_for_line(PATIENCE, |line| line == "held")?;
    let script = |name: &str| {
        let mut command = Command::new(repository().join("tests/cluster").join(name));
        command.env("STOCKSTREAM_CLUSTER", &state);
        command.env("STOCKSTREAM_CLUSTER_OWNER", &owner);
        command
    };
    let started = Process::spawn(&mut script("up.sh"))?.wait(3 * PATIENCE);
    let entered = started.and_then(Finished::success).and_then(|_| {
        let mut look = script("enter.sh");
        look.args(["kubectl", "get", "namespaces"]);
        Process::spawn(&mut look)?.wait(PATIENCE)?.success()
    });
    held.kill()?;
    wait_until("the second cluster's end", PATIENCE, || {
        Ok((!state.exists() && !owner.exists()).then_some(()))
    })?;
    let seen = entered?.stdout;
    ensure!(
        seen.contains("kube-system") && !seen.contains("a-second-cluster"),
        "{seen}"
    );
    cluster.kubectl(["get", "--raw", "/readyz"])?;
    Ok(())
}

/// What a kubelet sets for the whole machine, if it isn't so.
const KERNEL: [&str; 6] = [
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
];

static BEFORE: OnceLock<BTreeSet<String>> = OnceLock::new();

/// Keeps what the machine has before there is a cluster.
pub fn look_at_the_machine() -> anyhow::Result<()> {
    let seen = machine()?;
    BEFORE.get_or_init(|| seen);
    Ok(())
}

fn machine() -> anyhow::Result<BTreeSet<String>> {
    let mut seen = BTreeSet::new();
    for key in KERNEL {
        let value = std::fs::read_to_string(format!("/proc/sys/{key}")).unwrap_or_default();
        seen.insert(format!("{key}: {value}"));
    }
    for entry in std::fs::read_dir("/sys/class/net")? {
        let name = entry?.file_name();
        seen.insert(format!("interface {}", name.to_string_lossy()));
    }
    for folder in [
        "/var/lib/kubelet",
        "/var/lib/cni",
        "/run/containerd",
        "/var/log/pods",
    ] {
        let is = std::path::Path::new(folder).exists();
        seen.insert(format!("{folder}: {is}"));
    }
    Ok(seen)
}

pub fn kernel(cluster: &Cluster, _: &str) -> anyhow::Result<()> {
    let before = BEFORE.get().context("nobody looked before")?;
    let now = machine()?;
    ensure!(*before == now, "before: {before:?}, now: {now:?}");
    // The same seen from inside, so that the comparison means something.
    let inside = cluster.run("ip", ["-oneline", "link"])?.success()?.stdout;
    ensure!(inside.contains("cni0"), "{inside}");
    Ok(())
}

/// Looks at the routes only: nothing is sent.
pub fn no_way_out(cluster: &Cluster, _: &str) -> anyhow::Result<()> {
    for family in ["-4", "-6"] {
        let default = cluster
            .run("ip", [family, "route", "show", "default"])?
            .success()?;
        ensure!(
            default.stdout.is_empty(),
            "a default route: {}",
            default.stdout
        );
    }
    let links = cluster.run("ip", ["-oneline", "link"])?.success()?.stdout;
    for link in links.lines() {
        let name = link.split(": ").nth(1).unwrap_or_default();
        let ours = name == "lo" || name == "cni0" || name.starts_with("veth");
        ensure!(ours, "a link out of the cluster: {link}");
    }
    Ok(())
}
