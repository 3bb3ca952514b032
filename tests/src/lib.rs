//! What the suites under `tests/` share: where the binaries are, running them, waiting, Python.
//!
//! Owns nothing of the product and must never look inside it: a suite sees what a user sees, which is processes, files
//! and HTTP. `make test` builds the binaries and names them in the environment; without it every helper that needs one
//! fails with a message that says so.
//!
//! ```no_run
//! # use std::time::Duration;
//! # fn main() -> anyhow::Result<()> {
//! use stockstream_tests::{Process, Binary};
//!
//! let mut kinesis = Process::spawn(Binary::Product.command()?.args(["kinesis", "--memory", "--listen", "127.0.0.1:0"]))?;
//! let line = kinesis.wait_for_line(Duration::from_secs(30), |line| line.contains("http://"))?;
//! kinesis.kill()?; // SIGKILL; dropping it does the same
//! # Ok(()) }
//! ```

pub mod browser;
pub mod cluster;
pub mod http;
mod process;
pub mod restart;
pub mod servers;
mod wait;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context, bail};

pub use process::{Finished, Process};
pub use wait::wait_until;

/// Long enough for anything a suite waits for on a loaded machine; only a defect reaches it.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// One of the builds that suites run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// `stockstream` as users run it. It has no failpoints.
    Product,
    /// The same with the feature `failpoints`; see `worker/src/failpoint.rs` for the variables it obeys.
    Failpoints,
    /// `stockstream-operator` with its feature `failpoints`; see `operator/src/failpoint.rs`.
    OperatorFailpoints,
}

impl Binary {
    /// The file.
    ///
    /// # Errors
    /// When the environment doesn't name it, or it isn't there.
    pub fn path(self) -> anyhow::Result<PathBuf> {
        match self {
            Binary::Product => file_from_environment("STOCKSTREAM_BIN"),
            Binary::Failpoints => file_from_environment("STOCKSTREAM_FAILPOINTS_BIN"),
            Binary::OperatorFailpoints => {
                file_from_environment("STOCKSTREAM_OPERATOR_FAILPOINTS_BIN")
            }
        }
    }

    /// A command that runs it from the repository's root, where `examples/` lies, with nothing of this machine's AWS
    /// settings: credentials are made up, and no metadata service is asked.
    ///
    /// # Errors
    /// As [`Binary::path`].
    pub fn command(self) -> anyhow::Result<Command> {
        let mut command = Command::new(self.path()?);
        command.current_dir(repository());
        isolate_from_aws(&mut command);
        Ok(command)
    }
}

/// The Helm that was built for the tests' clusters, from the repository's root. It asks no cluster, and knows nothing of this
/// person's settings.
///
/// # Errors
/// When the environment doesn't name it, or it isn't there.
pub fn helm() -> anyhow::Result<Command> {
    let mut command = Command::new(file_from_environment("STOCKSTREAM_HELM")?);
    command.current_dir(repository());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HELM_") {
            command.env_remove(name);
        }
    }
    command.env("KUBECONFIG", "/dev/null");
    Ok(command)
}

/// The root of the tree these suites belong to: cargo says so when it runs them, for what it runs may have been compiled
/// for another checkout of the same sources.
#[must_use]
pub fn repository() -> &'static Path {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
        let run = std::env::var_os("CARGO_MANIFEST_DIR");
        let manifest = run.map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
        manifest
            .parent()
            .map_or_else(|| manifest.clone(), Path::to_path_buf)
    });
    &ROOT
}

/// A fresh directory, removed when dropped.
///
/// # Errors
/// When it can't be made.
pub fn scratch() -> anyhow::Result<tempfile::TempDir> {
    tempfile::Builder::new()
        .prefix("stockstream-test-")
        .tempdir()
        .context("making a scratch directory")
}

/// A command that runs `tests/python/SCRIPT` in the suites' virtual environment (duckdb, pyarrow, boto3).
///
/// # Errors
/// When the environment doesn't name the interpreter, or the script isn't there.
pub fn python(script: &str) -> anyhow::Result<Command> {
    let path = repository().join("tests/python").join(script);
    if !path.is_file() {
        bail!("there is no script {}", path.display());
    }
    let mut command = Command::new(file_from_environment("STOCKSTREAM_PYTHON")?);
    command.arg(path);
    isolate_from_aws(&mut command);
    Ok(command)
}

/// Runs a script as [`python`] does and reads the JSON value it prints on stdout.
///
/// # Errors
/// When it can't run, doesn't end within [`PATIENCE`], fails (with its stderr), or prints something else.
pub fn python_json<I, S>(script: &str, arguments: I) -> anyhow::Result<serde_json::Value>
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let mut command = python(script)?;
    let finished = Process::spawn(command.args(arguments))?
        .wait(PATIENCE)?
        .success()?;
    serde_json::from_str(&finished.stdout)
        .with_context(|| format!("{script} printed no JSON but: {}", finished.stdout))
}

/// No account, region or endpoint of the person who runs this: test credentials instead.
pub fn isolate_from_aws(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AWS_") {
            command.env_remove(name);
        }
    }
    command
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
}

fn file_from_environment(variable: &str) -> anyhow::Result<PathBuf> {
    let Some(value) = std::env::var_os(variable) else {
        bail!(
            "{variable} isn't set: these suites run what `make test` builds; run `make test`, or `make suite SUITE=NAME` for one of them"
        );
    };
    let path = PathBuf::from(value);
    if !path.is_file() {
        bail!(
            "{variable} is {}, which isn't a file: run `make test`, which builds it",
            path.display()
        );
    }
    Ok(path)
}
