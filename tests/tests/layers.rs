//! What each crate may never depend on, as ARCHITECTURE.md promises: asked of cargo, so that an indirect dependency
//! counts too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeSet;
use std::process::Command;

use stockstream_tests::{PATIENCE, Process, repository};

/// All packages that end up in a crate: normal and build dependencies, direct or not, for this machine.
fn dependencies(package: &str) -> BTreeSet<String> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(repository()).args([
        "tree",
        "--locked",
        "--offline",
        "--edges",
        "normal,build",
        "--prefix",
        "none",
        "--format",
        "{p}",
        "--package",
        package,
    ]);
    let finished = Process::spawn(&mut command)
        .unwrap()
        .wait(PATIENCE)
        .unwrap();
    let tree = finished.success().unwrap().stdout;
    let names: BTreeSet<String> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    assert!(
        names.contains(package),
        "cargo tree names the package itself: {tree}"
    );
    names
}

/// `banned`: names of packages; one that ends in `*` bans all that begin so.
fn never(package: &str, banned: &[&str]) {
    let found: Vec<String> = dependencies(package)
        .into_iter()
        .filter(|name| {
            banned.iter().any(|ban| match ban.strip_suffix('*') {
                Some(start) => name.starts_with(start),
                None => name == ban,
            })
        })
        .collect();
    assert!(
        found.is_empty(),
        "{package} must never depend on {found:?}; ARCHITECTURE.md says why"
    );
}

#[test]
fn the_core_has_no_runtime_no_network_and_no_randomness() {
    never(
        "stockstream-core",
        &[
            "tokio*",
            "async-*",
            "futures*",
            "mio",
            "hyper*",
            "reqwest",
            "aws-*",
            "object_store",
            "kube*",
            "rustix",
            "rand*",
            "getrandom",
            "fastrand",
            "chrono",
            "arrow*",
            "parquet",
            "stockstream-crds",
            "stockstream-local",
            "stockstream",
        ],
    );
}

#[test]
fn the_resource_never_talks_to_a_cluster() {
    never(
        "stockstream-crds",
        &[
            "kube-client",
            "kube-runtime",
            "tokio*",
            "hyper*",
            "aws-*",
            "object_store",
            "stockstream-core",
            "stockstream",
        ],
    );
}

#[test]
fn nothing_depends_on_the_simulation() {
    for package in [
        "stockstream-core",
        "stockstream-local",
        "stockstream-crds",
        "stockstream",
    ] {
        never(package, &["stockstream-simulation"]);
    }
}

#[test]
fn the_embedded_kinesis_knows_no_pipeline() {
    never(
        "stockstream-local",
        &[
            "stockstream-core",
            "stockstream-crds",
            "stockstream",
            // No client; the frames of AWS's event streams (aws-smithy-eventstream) are a format, as JSON is.
            "aws-config",
            "aws-credential-types",
            "aws-sdk-*",
            "aws-sigv4",
            "aws-smithy-http*",
            "aws-smithy-runtime*",
            "object_store",
            "arrow*",
            "parquet",
        ],
    );
}

#[test]
fn the_worker_has_no_kubernetes_client_and_no_system_tls() {
    never(
        "stockstream",
        &[
            "kube-client",
            "kube-runtime",
            "openssl",
            "openssl-sys",
            "native-tls",
        ],
    );
}
