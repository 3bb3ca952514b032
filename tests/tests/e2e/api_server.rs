//! What the API server makes of the CRD, the examples and the very mistakes that the tests of `crds/` hold.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use stockstream_tests::cluster::Cluster;
use stockstream_tests::{repository, scratch};

use crate::common::MINIMAL;
use crate::mistakes::Case;
use crate::{changes, mistakes};

/// Mistakes that the schema can't tell: Stockstream's own checks refuse them, the API server takes them.
const OURS_ALONE: &[&str] = &[];

/// Mistakes of a file rather than of a resource: kubectl takes it as something else.
const OF_A_FILE: &[&str] = &[
    "empty",
    "only comments",
    "a null document",
    "two documents",
    "a resource of Kubernetes",
];

pub fn specs(cluster: &Cluster, namespace: &str) -> anyhow::Result<()> {
    let mut cases = Vec::new();
    for file in ["examples", "crds/src"].map(|folder| yaml_files(&repository().join(folder))) {
        for file in file? {
            let name = file.file_name().context("a file has a name")?;
            let text = std::fs::read_to_string(&file)?;
            cases.push((name.to_string_lossy().into_owned(), text, true));
        }
    }
    ensure!(cases.len() >= 3, "there are three examples at least");
    cases.push(("minimal".to_owned(), MINIMAL.to_owned(), true));
    let mistakes = [
        mistakes::texts(),
        mistakes::fields(),
        mistakes::values(),
        mistakes::combinations(),
    ];
    let mistakes: Vec<Case> = mistakes.into_iter().flatten().collect();
    for name in OURS_ALONE.iter().chain(OF_A_FILE) {
        ensure!(
            mistakes.iter().any(|(one, _)| one == name),
            "{name} is no mistake any more"
        );
    }
    for (name, text) in mistakes {
        if !OF_A_FILE.contains(&name) {
            cases.push((name.to_owned(), text, OURS_ALONE.contains(&name)));
        }
    }
    judge(cluster, namespace, &cases)
}

pub fn changes(cluster: &Cluster, namespace: &str) -> anyhow::Result<()> {
    cluster.apply(namespace, MINIMAL)?;
    let mut cases = Vec::new();
    for (index, (field, text)) in changes::forbidden().into_iter().enumerate() {
        let new = text.replace("checkpoints/stock-ticks", "checkpoints/stock-ticks-2");
        cases.push((format!("{index} {field}"), text, false));
        cases.push((format!("{index} {field} with another state"), new, true));
    }
    for (index, text) in changes::allowed().into_iter().enumerate() {
        cases.push((format!("allowed {index}"), text, true));
    }
    judge(cluster, namespace, &cases)
}

/// Each case is a name, a text, and whether the API server takes it. All go to it in one command, which tells of each file
/// that was refused.
fn judge(
    cluster: &Cluster,
    namespace: &str,
    cases: &[(String, String, bool)],
) -> anyhow::Result<()> {
    let folder = scratch()?;
    for (index, (_, text, _)) in cases.iter().enumerate() {
        std::fs::write(folder.path().join(format!("{index:03}.yaml")), text)?;
    }
    let files = format!("--filename={}", folder.path().display());
    let arguments = [
        "apply",
        "--dry-run=server",
        "--namespace",
        namespace,
        &files,
    ];
    let told = cluster.run("kubectl", arguments)?;
    let mut wrong = String::new();
    for (index, (name, _, taken)) in cases.iter().enumerate() {
        let refused = told.stderr.contains(&format!("{index:03}.yaml"));
        if refused == *taken {
            let did = if refused { "refused" } else { "took" };
            writeln!(wrong, "the API server {did}: {name} ({index:03}.yaml)")?;
        }
    }
    let took = told.stdout.matches("(server dry run)").count();
    let expected = cases.iter().filter(|(_, _, taken)| *taken).count();
    if !wrong.is_empty() || took != expected {
        bail!(
            "{wrong}{took} of {} were taken instead of {expected}\n{}\n{}",
            cases.len(),
            told.stdout,
            told.stderr
        );
    }
    Ok(())
}

fn yaml_files(folder: &Path) -> anyhow::Result<Vec<std::path::PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            files.push(path);
        }
    }
    Ok(files)
}
