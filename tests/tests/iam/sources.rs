//! The sources of both programs and the list of calls say the same.
//!
//! Owns finding calls: an operation is whatever the SDK's own client has, and a call of it `.operation()`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use stockstream_operator::aws::calls::Call;
use stockstream_operator::cli::Role;
use stockstream_tests::{PATIENCE, Process, repository};

const SERVICES: [&str; 3] = ["kinesis", "glue", "s3"];

/// Calls that neither role makes: the file, the operation, and who makes it.
const OTHERS: &[(&str, &str, &str)] = &[
    ("worker/src/replay/put.rs", "put_records", "a producer"),
    (
        "worker/src/replay/put.rs",
        "create_stream",
        "a producer that was told to",
    ),
    (
        "worker/src/commands/dev.rs",
        "create_stream",
        "`dev`, at its own Kinesis",
    ),
    (
        "worker/src/commands/dev.rs",
        "increase_stream_retention_period",
        "`dev`, at its own Kinesis",
    ),
];

/// What a worker calls through object_store: get and head, put, list, delete. It never copies, nor uploads in parts.
const BY_OBJECT_STORE: [Call; 4] = [
    Call::GetObject,
    Call::PutObject,
    Call::ListBucket,
    Call::DeleteObject,
];

/// The action of an operation. Most have its name.
fn action(service: &str, operation: &str) -> String {
    let name = match (service, operation) {
        ("s3", "list_objects_v2" | "head_bucket") => "ListBucket".to_owned(),
        ("s3", "delete_objects") => "DeleteObject".to_owned(),
        ("s3", "head_object") => "GetObject".to_owned(),
        ("s3", "get_bucket_lifecycle_configuration") => "GetLifecycleConfiguration".to_owned(),
        _ => operation
            .split('_')
            .map(|word| {
                let (first, rest) = word.split_at(word.len().min(1));
                format!("{}{rest}", first.to_uppercase())
            })
            .collect(),
    };
    format!("{service}:{name}")
}

struct Sources {
    /// Actions by operation: two services may have one of the same name.
    operations: BTreeMap<String, BTreeSet<String>>,
}

impl Sources {
    fn look() -> anyhow::Result<Self> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        let arguments = ["metadata", "--locked", "--offline", "--format-version", "1"];
        command.current_dir(repository()).args(arguments);
        let finished = Process::spawn(&mut command)?.wait(PATIENCE)?.success()?;
        let metadata: Value = serde_json::from_str(&finished.stdout)?;
        let packages = metadata["packages"].as_array().context("packages")?;
        let mut operations: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for package in packages {
            let name = package["name"].as_str().context("a name")?;
            if ["stockstream", "stockstream-operator"].contains(&name) {
                only_known_services(package)?;
            }
            let Some(service) = SERVICES
                .into_iter()
                .find(|service| name == format!("aws-sdk-{service}"))
            else {
                continue;
            };
            let manifest = Path::new(package["manifest_path"].as_str().context("a path")?);
            let sources = manifest.parent().context("a folder")?.join("src");
            for file in std::fs::read_dir(sources.join("client"))? {
                let path = file?.path();
                let operation = path.file_stem().and_then(|stem| stem.to_str());
                let operation = operation.context("a name")?;
                // Beside operations there is what customizes them.
                if sources.join(format!("operation/{operation}.rs")).is_file() {
                    operations
                        .entry(operation.to_owned())
                        .or_default()
                        .insert(action(service, operation));
                }
            }
        }
        ensure!(
            operations.len() > 300,
            "only {} operations: the SDK lies elsewhere",
            operations.len()
        );
        Ok(Self { operations })
    }

    /// The calls in a folder: file, operation, what it may need.
    fn calls(&self, folder: &str) -> anyhow::Result<Vec<(String, &str, &BTreeSet<String>)>> {
        let mut calls = Vec::new();
        for path in rust_files(&repository().join(folder))? {
            let text = std::fs::read_to_string(&path)?;
            let lines = text.lines().filter(|line| !line.trim().starts_with("//"));
            let text: String = lines.flat_map(str::split_whitespace).collect();
            let name = path.strip_prefix(repository())?.display().to_string();
            for (operation, actions) in &self.operations {
                if text.contains(&format!(".{operation}()")) {
                    calls.push((name.clone(), operation.as_str(), actions));
                }
            }
        }
        Ok(calls)
    }
}

/// A program that talks to another service has calls that nobody looks for.
fn only_known_services(package: &Value) -> anyhow::Result<()> {
    let dependencies = package["dependencies"].as_array().context("dependencies")?;
    for dependency in dependencies {
        let name = dependency["name"].as_str().context("a name")?;
        if let Some(service) = name.strip_prefix("aws-sdk-") {
            ensure!(
                SERVICES.contains(&service),
                "{} depends on {name}: add it to SERVICES, its calls to operator/src/aws/calls.rs",
                package["name"]
            );
        }
    }
    Ok(())
}

fn rust_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}

const CRATES: [(Role, &str); 2] = [
    (Role::Operator, "operator/src"),
    (Role::Worker, "worker/src"),
];

fn allowed(role: Role) -> BTreeSet<&'static str> {
    let calls = Call::ALL.iter();
    let calls = calls.filter(|call| call.roles().contains(&role));
    calls.map(|call| call.action()).collect()
}

pub fn calls_are_listed() -> anyhow::Result<()> {
    let sources = Sources::look()?;
    for (role, folder) in CRATES {
        let allowed = allowed(role);
        for (file, operation, actions) in sources.calls(folder)? {
            let is_other = OTHERS
                .iter()
                .any(|other| (other.0, other.1) == (file.as_str(), operation));
            if !is_other && !actions.iter().any(|one| allowed.contains(one.as_str())) {
                bail!(
                    "{file} calls {operation}, but operator/src/aws/calls.rs has none of {actions:?} for the {role:?}: add it there, then STOCKSTREAM_UPDATE_IAM=1 cargo test -p stockstream-operator --lib policy"
                );
            }
        }
    }
    for (file, operation, who) in OTHERS {
        let is_there = sources
            .calls("worker/src")?
            .iter()
            .any(|call| (call.0.as_str(), call.1) == (*file, *operation));
        ensure!(
            is_there,
            "{who} doesn't call {operation} in {file} any more"
        );
    }
    Ok(())
}

pub fn actions_are_called() -> anyhow::Result<()> {
    let sources = Sources::look()?;
    for (role, folder) in CRATES {
        let calls = sources.calls(folder)?;
        let called: BTreeSet<&str> = calls
            .iter()
            .filter(|(file, operation, _)| {
                !OTHERS
                    .iter()
                    .any(|other| (other.0, other.1) == (file.as_str(), *operation))
            })
            .flat_map(|(_, _, actions)| actions.iter().map(String::as_str))
            .chain(
                BY_OBJECT_STORE
                    .iter()
                    .filter(|_| role == Role::Worker)
                    .map(|call| call.action()),
            )
            .collect();
        let unused: Vec<_> = allowed(role).difference(&called).copied().collect();
        ensure!(unused.is_empty(), "{folder} never calls {unused:?}");
    }
    Ok(())
}
