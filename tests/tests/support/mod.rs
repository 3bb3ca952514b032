//! Pipelines for the suites: their YAML, the processes that run them, what they answer over HTTP.
//!
//! Owns starting and asking. Must never know what a right answer is: the suites do.

#![allow(
    dead_code,
    reason = "every suite compiles this module and uses a part of it"
)]

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;
use stockstream_tests::{Binary, Finished, PATIENCE, Process, wait_until};

/// A pipeline's YAML, with short timings and everything below one directory.
#[derive(Clone, Debug)]
pub struct Spec {
    pub name: String,
    /// The lines below `source:`.
    pub source: String,
    /// Lines below `record:`.
    pub record: Vec<String>,
    /// Lines below `window:`.
    pub window: Vec<String>,
    /// Lines below `output:`, beside the path.
    pub output: Vec<String>,
    pub output_path: PathBuf,
    pub state_path: PathBuf,
}

impl Spec {
    /// A pipeline that reads files, with rows and state below `directory`.
    pub fn of_files(directory: &Path, paths: &[String]) -> Spec {
        Spec::new(
            directory,
            format!(
                "    files: {}\n",
                serde_json::json!({"paths": paths.iter().map(|path| format!("file://{path}")).collect::<Vec<_>>()})
            ),
        )
    }

    /// A pipeline that reads a stream from its beginning.
    pub fn of_stream(directory: &Path, stream: &str) -> Spec {
        Spec::new(
            directory,
            format!("    kinesis: {{streamName: {stream}, initialPosition: TrimHorizon}}\n"),
        )
    }

    fn new(directory: &Path, source: String) -> Spec {
        Spec {
            name: "suite".to_owned(),
            source,
            record: Vec::new(),
            window: Vec::new(),
            output: vec!["publishInterval: 1s".to_owned()],
            output_path: directory.join("rows"),
            state_path: directory.join("state"),
        }
    }

    /// The same with one more line below `record:`.
    pub fn record(mut self, line: &str) -> Spec {
        self.record.push(line.to_owned());
        self
    }

    /// The same with one more line below `window:`.
    pub fn window(mut self, line: &str) -> Spec {
        self.window.push(line.to_owned());
        self
    }

    /// The same with one more line below `output:`.
    pub fn output(mut self, line: &str) -> Spec {
        self.output.push(line.to_owned());
        self
    }

    /// The same without partition columns: one file a batch.
    pub fn unpartitioned(self) -> Spec {
        self.output("partitionBy: []")
    }

    /// Where late ticks and dead letters go.
    pub fn rejects_path(&self) -> PathBuf {
        let mut path = self.output_path.clone().into_os_string();
        path.push("-rejects");
        path.into()
    }

    pub fn yaml(&self) -> String {
        let mut yaml = format!(
            "apiVersion: stockstream.dev/v1alpha1\nkind: StockStream\nmetadata: {{name: {}}}\nspec:\n  source:\n{}",
            self.name, self.source
        );
        let mut block = |name: &str, lines: &[String]| {
            if !lines.is_empty() {
                let _ = writeln!(yaml, "  {name}:"); // writing to a String can't fail
            }
            for line in lines {
                let _ = writeln!(yaml, "    {line}");
            }
        };
        block("record", &self.record);
        block("window", &self.window);
        let mut output = vec![format!("path: file://{}", self.output_path.display())];
        output.extend(self.output.iter().cloned());
        block("output", &output);
        block(
            "state",
            &[
                format!("path: file://{}", self.state_path.display()),
                "commitInterval: 1s".to_owned(),
            ],
        );
        yaml
    }

    /// Writes the YAML to `file` and returns its path as an argument.
    pub fn write(&self, file: &Path) -> anyhow::Result<String> {
        std::fs::write(file, self.yaml()).with_context(|| file.display().to_string())?;
        text(file)
    }
}

/// A path as an argument.
pub fn text(path: &Path) -> anyhow::Result<String> {
    Ok(path
        .to_str()
        .with_context(|| format!("{} isn't UTF-8", path.display()))?
        .to_owned())
}

/// Runs `stockstream ARGUMENTS` to its end.
pub fn run<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> anyhow::Result<Finished> {
    run_in(stockstream_tests::repository(), arguments)
}

/// The same in a directory.
pub fn run_in<S: AsRef<std::ffi::OsStr>>(
    directory: &Path,
    arguments: &[S],
) -> anyhow::Result<Finished> {
    Process::spawn(
        Binary::Product
            .command()?
            .current_dir(directory)
            .args(arguments),
    )?
    .wait(PATIENCE)
}

/// Runs a pipeline over files to its end and returns its summary.
pub fn run_files(yaml: &str) -> anyhow::Result<Value> {
    let finished = run(&[
        "worker",
        "-f",
        yaml,
        "--listen",
        "127.0.0.1:0",
        "-o",
        "json",
    ])?
    .success()?;
    serde_json::from_str(&finished.stdout)
        .with_context(|| format!("the summary is no JSON: {}", finished.stdout))
}

/// `stockstream kinesis`, in memory unless started otherwise.
pub struct Kinesis {
    pub process: Process,
    pub endpoint: String,
}

impl Kinesis {
    pub fn start() -> anyhow::Result<Kinesis> {
        Kinesis::start_with(&["--memory"])
    }

    pub fn start_with(arguments: &[&str]) -> anyhow::Result<Kinesis> {
        let mut process = Process::spawn(
            Binary::Product
                .command()?
                .args(["kinesis", "--listen", "127.0.0.1:0"])
                .args(arguments),
        )?;
        let line = process.wait_for_line(PATIENCE, |line| line.contains("Kinesis listens on "))?;
        let endpoint = line
            .split_whitespace()
            .find(|word| word.starts_with("http://"))
            .context("no endpoint")?
            .to_owned();
        Ok(Kinesis { process, endpoint })
    }

    /// Runs `tests/python/kinesis.py ARGUMENTS` against it and returns its answer.
    pub fn boto3(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        boto3("kinesis.py", &self.endpoint, arguments)
    }
}

/// Runs a boto3 script against an endpoint and returns its answer.
pub fn boto3(script: &str, endpoint: &str, arguments: &[&str]) -> anyhow::Result<Value> {
    let mut command = stockstream_tests::python(script)?;
    command
        .args(arguments)
        .env("AWS_ENDPOINT_URL_KINESIS", endpoint);
    let finished = Process::spawn(&mut command)?.wait(PATIENCE)?.success()?;
    serde_json::from_str(&finished.stdout)
        .with_context(|| format!("{script} printed no JSON but: {}", finished.stdout))
}

/// A running `worker` or `dev`.
pub struct Running {
    pub process: Process,
    pub url: String,
}

impl Running {
    /// `stockstream worker -f YAML` against an endpoint.
    pub fn worker(yaml: &str, endpoint: &str) -> anyhow::Result<Running> {
        Running::start(&[
            "worker",
            "-f",
            yaml,
            "--endpoint-url",
            endpoint,
            "--listen",
            "127.0.0.1:0",
        ])
    }

    pub fn start(arguments: &[&str]) -> anyhow::Result<Running> {
        let process = Process::spawn(Binary::Product.command()?.args(arguments))?;
        Running::of(process)
    }

    /// Of a process that was started otherwise.
    pub fn of(mut process: Process) -> anyhow::Result<Running> {
        let line = process.wait_for_line(PATIENCE, |line| {
            line.contains("\"listening\"") && line.contains("state and metrics")
        })?;
        let line: Value = serde_json::from_str(&line)?;
        let url = line["url"].as_str().context("no url")?.to_owned();
        Ok(Running { process, url })
    }

    /// `/api/state`.
    pub fn state(&self) -> anyhow::Result<Value> {
        let (status, body) = get(&format!("{}/api/state", self.url))?;
        if status != 200 {
            bail!("/api/state answered {status}: {body}");
        }
        Ok(serde_json::from_str(&body)?)
    }

    /// Waits until the state is as wanted, and returns it.
    pub fn wait_for_state(
        &mut self,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<Value> {
        let mut last = Value::Null;
        let waited = wait_until(what, PATIENCE, || {
            if !self.process.is_running()? {
                bail!("it ended");
            }
            last = self.state()?;
            Ok(wanted(&last).then(|| last.clone()))
        });
        waited.with_context(|| format!("state: {last:#}\nstderr:\n{}", self.process.stderr()))
    }

    /// Ctrl-C, and its end.
    pub fn interrupt(mut self) -> anyhow::Result<Finished> {
        self.process.signal(rustix::process::Signal::INT)?;
        self.process.wait(PATIENCE)
    }
}

/// An HTTP GET on this machine: status and body.
pub fn get(url: &str) -> anyhow::Result<(u16, String)> {
    let rest = url.strip_prefix("http://").context("not http://")?;
    let (address, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let mut stream = TcpStream::connect(address).with_context(|| url.to_owned())?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    let (head, body) = reply.split_once("\r\n\r\n").context("no body")?;
    if head.to_ascii_lowercase().contains("transfer-encoding") {
        bail!("{url} is answered in chunks, which this client can't read");
    }
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    Ok((status, body.to_owned()))
}

/// The condition of a type in a state.
pub fn condition<'a>(state: &'a Value, kind: &str) -> Option<&'a Value> {
    state["conditions"]
        .as_array()?
        .iter()
        .find(|condition| condition["type"] == kind)
}

/// Every file below a directory, sorted.
pub fn files_below(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| directory.display().to_string()),
        };
        for entry in entries {
            let path = entry?.path();
            match path.is_dir() {
                true => directories.push(path),
                false => files.push(path),
            }
        }
    }
    files.sort();
    Ok(files)
}

/// The dead letters below a rejects path, as they stand in their files.
pub fn dead_letters(rejects: &Path) -> anyhow::Result<Vec<Value>> {
    let mut letters = Vec::new();
    for file in files_below(&rejects.join("dead-letters"))? {
        for line in std::fs::read_to_string(&file)?.lines() {
            letters.push(serde_json::from_str(line)?);
        }
    }
    Ok(letters)
}
