//! On a real Kubernetes of one node, with real pods: that the cluster does what suites rely on, and that its API server takes
//! and refuses what this repository says it does.
//!
//! One cluster for all trials, each in a namespace of its own. `make e2e` runs it.

#![allow(clippy::print_stderr, missing_docs)]

#[path = "../../crds/tests/common/changes.rs"]
mod changes;
#[path = "../../crds/tests/common/mod.rs"]
mod common;
#[path = "../../crds/tests/common/mistakes.rs"]
mod mistakes;

#[path = "e2e/api_server.rs"]
mod api_server;
#[path = "e2e/cluster.rs"]
mod cluster;
#[path = "e2e/pods.rs"]
mod pods;

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use libtest_mimic::{Arguments, Failed, Trial};
use stockstream_tests::cluster::Cluster;

/// Trials at once: they mostly wait, and a cluster has few cores to share.
const AT_ONCE: usize = 4;

/// A trial: the cluster, and the name of a namespace for it.
type Check = fn(&Cluster, &str) -> anyhow::Result<()>;

const TRIALS: &[(&str, Check)] = &[
    (
        "every_example_and_mistake_is_judged_as_listed",
        api_server::specs,
    ),
    (
        "a_running_pipeline_may_change_as_listed",
        api_server::changes,
    ),
    ("pods_have_the_rights_of_their_account_only", pods::rights),
    ("pods_reach_emulated_aws_on_the_gateway", pods::emulated_aws),
    ("a_service_answers_from_each_of_its_pods", pods::service),
    ("a_deleted_pod_is_replaced", pods::replaced),
    ("a_deployment_is_scaled", pods::scaled),
    ("a_killed_container_is_started_again", pods::crashed),
    ("a_pod_without_network_is_not_ready", pods::unplugged),
    ("helm_installs_upgrades_and_uninstalls", pods::helm),
    (
        "kstatus_tells_whether_a_resource_is_current",
        cluster::kstatus,
    ),
    ("pods_run_on_nodes_of_kwok", cluster::fake_nodes),
    ("a_namespace_goes_with_all_it_has", cluster::namespace),
    (
        "a_second_cluster_lives_beside_and_goes_with_its_owner",
        cluster::second,
    ),
    ("nothing_of_the_machine_is_changed", cluster::kernel),
    ("nothing_leaves_the_cluster", cluster::no_way_out),
];

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(101),
        Err(error) => {
            eprintln!("e2e: {error:#}");
            ExitCode::from(101)
        }
    }
}

fn run() -> anyhow::Result<bool> {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    let shared = Arc::new(OnceLock::new());
    let trials = TRIALS.iter().map(|&(name, check)| {
        let shared = Arc::clone(&shared);
        Trial::test(name, move || {
            // Started by the first trial that is run: none for `--list`.
            let cluster = shared.get_or_init(start).as_ref();
            let cluster =
                cluster.map_err(|error| Failed::from(format!("no cluster: {error:#}")))?;
            judge(cluster, name, check)
        })
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    let cluster = Arc::into_inner(shared).context("a trial still runs")?;
    if let Some(Ok(cluster)) = cluster.into_inner() {
        cluster.down()?;
    }
    Ok(!conclusion.has_failed())
}

fn start() -> anyhow::Result<Cluster> {
    cluster::look_at_the_machine()?;
    let cluster = Cluster::start()?;
    let probe = cluster.built("bin/probe")?;
    cluster.image("test.local/probe:1", "/probe", &[(&probe, "/probe")])?;
    cluster.kubectl([
        "apply",
        "--filename=crds/generated/stockstreams.stockstream.dev.yaml",
    ])?;
    cluster.wait(
        "default",
        "crd/stockstreams.stockstream.dev",
        "condition=Established",
    )?;
    Ok(cluster)
}

/// A failure is told with what the namespace looked like.
fn judge(cluster: &Cluster, name: &str, check: Check) -> Result<(), Failed> {
    let namespace = name.replace('_', "-");
    let judged = cluster
        .kubectl(["create", "namespace", &namespace])
        .and_then(|_| check(cluster, &namespace));
    judged.map_err(|error| {
        let look = |what| {
            let arguments = ["get", what, "--output=wide", "--namespace", &namespace];
            cluster
                .kubectl(arguments)
                .unwrap_or_else(|error| format!("{error:#}"))
        };
        let (pods, events) = (look("pods"), look("events"));
        Failed::from(format!("{error:#}\n{pods}\n{events}"))
    })?;
    // Not waited for: its pods needn't take part in what others measure.
    cluster
        .kubectl(["delete", "namespace", &namespace, "--wait=false"])
        .map_err(|error| Failed::from(format!("{error:#}")))?;
    Ok(())
}
