//! The servers under test: ours and npm's `kinesis-local`, each started once per set of facilities, when the first case
//! asks for it, and ended with the suite.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use stockstream_tests::{Binary, PATIENCE, Process, repository};

use super::case::Needs;

/// An implementation of Kinesis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Server {
    /// `stockstream kinesis`.
    Ours,
    /// npm `kinesis-local`, which nobody here wrote.
    KinesisLocal,
}

impl Server {
    pub const ALL: [Server; 2] = [Server::Ours, Server::KinesisLocal];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Server::Ours => "ours",
            Server::KinesisLocal => "kinesis-local",
        }
    }
}

/// How long a state lasts where [`Needs::Delays`]: long enough to be asked for on a loaded machine.
const DELAY: &str = "3s";

/// The same. A case that was slower than that hasn't asked in that state.
pub const STATE_LASTS: Duration = Duration::from_secs(3);

type Started = Arc<OnceLock<Result<String, String>>>;

/// All that run. Dropping it ends them.
#[derive(Default)]
pub struct Servers {
    started: Mutex<BTreeMap<(Server, Needs), Started>>,
    processes: Mutex<Vec<Process>>,
}

impl Servers {
    /// The endpoint of a server with a facility; starts it if need be.
    pub fn endpoint(&self, server: Server, needs: Needs) -> anyhow::Result<String> {
        // It has no limits to enforce: the same server as for everything else.
        let needs = match (server, needs) {
            (Server::KinesisLocal, Needs::Limits) => Needs::Plain,
            _ => needs,
        };
        let started = lock(&self.started)
            .entry((server, needs))
            .or_default()
            .clone();
        // Outside of the lock, so that others start meanwhile; the first to ask starts it, the others wait.
        let endpoint = started.get_or_init(|| {
            let start = match server {
                Server::Ours => ours(needs),
                Server::KinesisLocal => kinesis_local(needs),
            };
            let (endpoint, process) = start.map_err(|error| format!("{error:#}"))?;
            lock(&self.processes).push(process);
            Ok(endpoint)
        });
        endpoint
            .clone()
            .map_err(|error| anyhow::anyhow!("{} didn't start: {error}", server.name()))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn ours(needs: Needs) -> anyhow::Result<(String, Process)> {
    let mut command = Binary::Product.command()?;
    command.args(["kinesis", "--memory", "--listen", "127.0.0.1:0"]);
    match needs {
        Needs::Plain => {}
        Needs::Delays => {
            for delay in ["--creating-delay", "--updating-delay", "--deleting-delay"] {
                command.args([delay, DELAY]);
            }
        }
        Needs::Limits => {
            command.arg("--enforce-limits");
        }
        Needs::Faults => {
            // No rules to begin with; cases script them over HTTP.
            let rules = repository().join("tests/tests/conformance/no-faults.json");
            command.arg("--faults").arg(rules);
        }
    }
    let mut process = Process::spawn(&mut command)?;
    let line = process.wait_for_line(PATIENCE, |line| line.contains("http://"))?;
    let start = line.find("http://").context("no URL")?;
    let endpoint = line[start..].split([' ', '"', ',']).next();
    Ok((endpoint.unwrap_or_default().to_owned(), process))
}

/// The ports it is told to take; `tests/node/loopback.cjs` gives it free ones and tells which is which.
const PLAIN_PORT: &str = "4568";
const TLS_PORT: &str = "4567";

fn kinesis_local(needs: Needs) -> anyhow::Result<(String, Process)> {
    let node = file("STOCKSTREAM_NODE")?;
    let main = file("STOCKSTREAM_KINESIS_LOCAL")?;
    let duration = match needs {
        Needs::Plain | Needs::Limits => "5ms",
        Needs::Delays => DELAY,
        Needs::Faults => bail!("kinesis-local has no scripted faults"),
    };
    let mut command = Command::new(node);
    command
        .arg("--require")
        .arg(repository().join("tests/node/loopback.cjs"))
        .arg(&main)
        .env("KINESIS_MOCK_PLAIN_PORT", PLAIN_PORT)
        .env("KINESIS_MOCK_TLS_PORT", TLS_PORT)
        .env("KINESIS_MOCK_CERT_PATH", main.with_file_name("server.json"))
        .env("LOG_LEVEL", "ERROR")
        .env("SHOULD_PERSIST_DATA", "false")
        // As much as AWS grants by default where it grants most; cases run in parallel in one account.
        .env("SHARD_LIMIT", "20000")
        .env("ON_DEMAND_STREAM_COUNT_LIMIT", "50");
    for operation in [
        "CREATE_STREAM",
        "DELETE_STREAM",
        "REGISTER_STREAM_CONSUMER",
        "DEREGISTER_STREAM_CONSUMER",
        "START_STREAM_ENCRYPTION",
        "STOP_STREAM_ENCRYPTION",
        "MERGE_SHARDS",
        "SPLIT_SHARD",
        "UPDATE_SHARD_COUNT",
        "UPDATE_STREAM_MODE",
    ] {
        command.env(format!("{operation}_DURATION"), duration);
    }
    let mut process = Process::spawn(&mut command)?;
    let says = format!("{PLAIN_PORT} listens on ");
    let line = process.wait_for_line(PATIENCE, |line| line.starts_with(&says))?;
    let address = line.strip_prefix(&says).unwrap_or_default();
    Ok((format!("http://{address}"), process))
}

fn file(variable: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os(variable).map(PathBuf::from);
    path.filter(|path| path.is_file()).with_context(|| {
        format!("{variable} names no file: run `make suite SUITE=conformance`, which installs it")
    })
}
