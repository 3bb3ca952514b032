//! What the API server makes of the CRD, the examples and the very mistakes that the tests of `crds/` hold.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{bail, ensure};
use stockstream_tests::cluster::Cluster;
use stockstream_tests::{repository, scratch};

use crate::common::MINIMAL;
use crate::{changes, mistakes};

/// What the schema can't say, as `crds/src/checks.rs` tells why: Stockstream's own checks refuse it, the API server takes it.
const OURS_ALONE: &[&str] = &[
    "a window of a nanosecond more",
    "an outbox that is too small",
    "expiry not a multiple of a fraction",
    "files listed twice",
];

/// What never reaches the API server as it is written: kubectl reads YAML 1.1, and the last of two equal keys.
const READ_OTHERWISE: &[&str] = &["a word for a boolean", "a field given twice"];

/// What kubectl takes for no resource, several, or another one.
const OF_A_FILE: &[&str] = &[
    "empty",
    "only comments",
    "a null document",
    "two documents",
    "a resource of Kubernetes",
];

/// A text, and what the API server makes of it.
struct Case {
    name: String,
    text: String,
    /// It is refused, and one of these is named as the reason; `None`: it is taken.
    names: Option<Vec<String>>,
}

impl Case {
    fn taken(name: impl Into<String>, text: impl Into<String>) -> Case {
        let (name, text, names) = (name.into(), text.into(), None);
        Case { name, text, names }
    }

    /// Refused for a field that Stockstream names, too, or for what that is in.
    fn refused(name: &str, text: String) -> anyhow::Result<Case> {
        let Err(errors) = stockstream_crds::parse(&text) else {
            bail!("{name} is no mistake any more");
        };
        let mut names = Vec::new();
        for error in errors.errors() {
            let around = error
                .path
                .rsplit_once('.')
                .map(|(around, _)| around.to_owned());
            names.extend(around);
            names.push(error.path.clone());
            // kubectl looks for these itself, in its own words.
            match error.path.as_str() {
                "apiVersion" | "kind" => names.push("no matches for kind".to_owned()),
                "metadata" | "metadata.name" => {
                    names.push("resource name may not be empty".to_owned())
                }
                _ => {}
            }
        }
        Ok(Case {
            name: name.to_owned(),
            text,
            names: Some(names),
        })
    }
}

pub fn specs(cluster: &Cluster, namespace: &str) -> anyhow::Result<()> {
    let mut cases = vec![Case::taken("minimal", MINIMAL)];
    for folder in ["examples", "crds/src"] {
        for file in yaml_files(&repository().join(folder))? {
            cases.push(Case::taken(
                file.to_string_lossy(),
                std::fs::read_to_string(&file)?,
            ));
        }
    }
    ensure!(cases.len() >= 4, "there are three examples at least");
    let mistakes = [
        mistakes::texts(),
        mistakes::fields(),
        mistakes::values(),
        mistakes::combinations(),
    ]
    .concat();
    for name in [OURS_ALONE, READ_OTHERWISE, OF_A_FILE].concat() {
        ensure!(
            mistakes.iter().any(|(one, _)| *one == name),
            "{name} is no mistake any more"
        );
    }
    for (name, text) in mistakes {
        if OURS_ALONE.contains(&name) || READ_OTHERWISE.contains(&name) {
            cases.push(Case::taken(name, text));
        } else if !OF_A_FILE.contains(&name) {
            cases.push(Case::refused(name, text)?);
        }
    }
    judge(cluster, namespace, "apply", &cases)
}

/// By `kubectl replace`: `apply` would merge a change into the defaults that the API server has filled in.
pub fn changes(cluster: &Cluster, namespace: &str) -> anyhow::Result<()> {
    cluster.apply(namespace, MINIMAL)?;
    let mut cases = Vec::new();
    for (field, text) in changes::forbidden() {
        let elsewhere = text.replace("checkpoints/stock-ticks", "checkpoints/stock-ticks-2");
        cases.push(Case::taken(
            format!("{field} with another state"),
            elsewhere,
        ));
        let (name, names) = (field.to_owned(), Some(vec![field.to_owned()]));
        cases.push(Case { name, text, names });
    }
    for text in changes::allowed() {
        cases.push(Case::taken(text.clone(), text));
    }
    judge(cluster, namespace, "replace", &cases)
}

/// Each case is a name, a text, and whether the API server takes it. All go to it in one command, which tells of each file
/// that was refused, and why.
fn judge(cluster: &Cluster, namespace: &str, verb: &str, cases: &[Case]) -> anyhow::Result<()> {
    let folder = scratch()?;
    for (index, case) in cases.iter().enumerate() {
        std::fs::write(folder.path().join(file_name(index)), &case.text)?;
    }
    let files = format!("--filename={}", folder.path().display());
    let arguments = [verb, "--dry-run=server", "--namespace", namespace, &files];
    let told = cluster.run("kubectl", arguments)?;
    let mut wrong = String::new();
    for (index, case) in cases.iter().enumerate() {
        // What is told of a file goes on to the name of the next.
        let of_it = told.stderr.split_once(&file_name(index));
        let refusal = of_it.map(|(_, rest)| {
            let rest = rest.strip_prefix("\":").unwrap_or(rest);
            rest.split(".yaml").next().unwrap_or_default()
        });
        let as_expected = match (&case.names, refusal) {
            (None, None) => true,
            (Some(names), Some(refusal)) => names.iter().any(|name| refusal.contains(name)),
            _ => false,
        };
        if !as_expected {
            let file = file_name(index);
            writeln!(wrong, "{file}, {}: {refusal:?}", case.name)?;
        }
    }
    let took = told.stdout.matches("(server dry run)").count();
    let expected = cases.iter().filter(|case| case.names.is_none()).count();
    ensure!(wrong.is_empty(), "not as expected:\n{wrong}");
    ensure!(
        took == expected,
        "{took} were taken, not {expected}: {told:?}"
    );
    Ok(())
}

fn file_name(index: usize) -> String {
    format!("{index:03}.yaml")
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
