//! The servers that are measured, each a process of its own on a free loopback port.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use stockstream_local::{DiskOptions, KinesisOptions, Server, ServerOptions, Storage};

use crate::Outcome;

/// What `stockstream kinesis` takes when nobody says otherwise.
const MAX_BYTES: u64 = 10 << 30;

/// Where kinesis-local is.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Holds its main.js.
    pub directory: PathBuf,
    /// Binds it to loopback and says its port.
    pub preload: Option<PathBuf>,
    /// The Node that runs it.
    pub node: PathBuf,
}

impl Default for Peer {
    fn default() -> Self {
        Self {
            directory: PathBuf::new(),
            preload: None,
            node: PathBuf::from("node"),
        }
    }
}

/// Serves until standard input ends, so that no server outlives its benchmark: the program's other role.
pub fn serve(directory: Option<PathBuf>) -> Outcome<()> {
    let storage = match directory {
        Some(path) => Storage::Directory(DiskOptions::new(path, MAX_BYTES)),
        None => Storage::Memory {
            max_bytes: MAX_BYTES,
        },
    };
    let options = ServerOptions {
        kinesis: KinesisOptions {
            storage,
            ..KinesisOptions::default()
        },
        ..ServerOptions::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let server = Server::start(options).await?;
        println!("{}", server.endpoint());
        tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
        server.shutdown().await;
        Ok(())
    })
}

/// A running server; killed (SIGKILL) when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    pub endpoint: String,
}

impl Process {
    /// Ours: in memory, or durable in `directory`.
    pub fn ours(directory: Option<&Path>) -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("serve").args(directory);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut endpoint = String::new();
        if let Some(out) = child.stdout.take() {
            BufReader::new(out).read_line(&mut endpoint)?;
        }
        let process = Self {
            child,
            endpoint: endpoint.trim().to_owned(),
        };
        if process.endpoint.is_empty() {
            return Err("our server didn't start".into());
        }
        Ok(process)
    }

    /// kinesis-local, on the port that its preload says.
    pub fn peer(peer: &Peer) -> Outcome<Self> {
        const PLAIN: &str = "4567";
        let mut command = Command::new(&peer.node);
        if let Some(preload) = &peer.preload {
            command.arg("--require").arg(preload);
        }
        command
            .arg("main.js")
            .current_dir(&peer.directory)
            .env("KINESIS_MOCK_PLAIN_PORT", PLAIN)
            .env("KINESIS_MOCK_TLS_PORT", "4568")
            .env("CREATE_STREAM_DURATION", "10ms")
            .env("LOG_LEVEL", "ERROR")
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let stderr = child.stderr.take();
        let mut process = Self {
            child,
            endpoint: String::new(),
        };
        let mut lines = BufReader::new(stderr.ok_or("kinesis-local has no stderr")?).lines();
        for line in &mut lines {
            let line = line?;
            if let Some(address) = line.strip_prefix(&format!("{PLAIN} listens on ")) {
                process.endpoint = format!("http://{address}");
                break;
            }
        }
        if process.endpoint.is_empty() {
            return Err("kinesis-local didn't say where it listens: its preload must".into());
        }
        // Nobody reads it; a full pipe would stop the server.
        std::thread::spawn(move || lines.for_each(drop));
        std::thread::sleep(Duration::from_secs(1));
        Ok(process)
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory in bytes.
    pub fn resident_bytes(&self) -> Outcome<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line
            .and_then(|line| line.split_whitespace().next())
            .ok_or("no VmRSS")?;
        Ok(kib.parse::<u64>()? * 1024)
    }

    /// Processor time so far.
    pub fn cpu(&self) -> Outcome<Cpu> {
        Cpu::of(&self.id().to_string())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Processor time of a process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cpu {
    pub user: Duration,
    pub system: Duration,
}

impl Cpu {
    /// Of a process id, or of `self`.
    pub fn of(process: &str) -> Outcome<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
        // The name in parentheses may hold spaces; user and system time are the 12th and 13th fields after it.
        let (_, rest) = stat.rsplit_once(')').ok_or("unreadable stat")?;
        let mut fields = rest.split_whitespace().skip(11);
        let mut ticks = || -> Outcome<Duration> {
            let ticks: u64 = fields.next().ok_or("unreadable stat")?.parse()?;
            // Linux counts in hundredths of a second for programs, whatever its own clock.
            Ok(Duration::from_millis(ticks * 10))
        };
        Ok(Self {
            user: ticks()?,
            system: ticks()?,
        })
    }

    pub fn since(self, before: Self) -> Self {
        Self {
            user: self.user.saturating_sub(before.user),
            system: self.system.saturating_sub(before.system),
        }
    }

    pub fn total(self) -> Duration {
        self.user + self.system
    }
}
