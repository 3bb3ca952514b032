//! A process that a suite started: its output by line, its signals, its end.
//!
//! Only processes started here are ever signalled, by their own id; one that is dropped is killed.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::wait_until;

/// A running process.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    group: bool,
    output: Arc<Mutex<Output>>,
    readers: Vec<JoinHandle<()>>,
}

/// What a process wrote: each stream, and the lines of both that nobody has waited for yet.
#[derive(Debug, Default)]
struct Output {
    stdout: String,
    stderr: String,
    lines: Vec<String>,
}

/// A process that has ended.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The command line.
    pub name: String,
    /// How it ended.
    pub status: ExitStatus,
    /// All it wrote to stdout; bytes that aren't UTF-8 replaced.
    pub stdout: String,
    /// All it wrote to stderr.
    pub stderr: String,
}

impl Finished {
    /// Itself, if it ended with 0.
    ///
    /// # Errors
    /// Otherwise, with what it printed.
    pub fn success(self) -> anyhow::Result<Finished> {
        if !self.status.success() {
            bail!(
                "`{}` ended with {}\nstdout:\n{}\nstderr:\n{}",
                self.name,
                self.status,
                self.stdout,
                self.stderr
            );
        }
        Ok(self)
    }
}

impl Process {
    /// Starts a command without stdin.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn spawn(command: &mut Command) -> anyhow::Result<Process> {
        Process::start(command, false)
    }

    /// As [`Process::spawn`], in a process group of its own that [`Process::kill`] and dropping end as a whole: for
    /// commands that start others, such as `make`.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn spawn_group(command: &mut Command) -> anyhow::Result<Process> {
        std::os::unix::process::CommandExt::process_group(command, 0);
        Process::start(command, true)
    }

    fn start(command: &mut Command, group: bool) -> anyhow::Result<Process> {
        let mut name = command.get_program().to_string_lossy().into_owned();
        for argument in command.get_args() {
            name.push(' ');
            name.push_str(&argument.to_string_lossy());
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting `{name}`"))?;
        let output = Arc::new(Mutex::new(Output::default()));
        let readers = [
            child
                .stdout
                .take()
                .map(|pipe| read(pipe, &output, |output| &mut output.stdout)),
            child
                .stderr
                .take()
                .map(|pipe| read(pipe, &output, |output| &mut output.stderr)),
        ];
        Ok(Process {
            name,
            child,
            group,
            output,
            readers: readers.into_iter().flatten().collect(),
        })
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to stdout so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.output().stdout.clone()
    }

    /// What it wrote to stderr so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.output().stderr.clone()
    }

    /// Waits for a line of stdout or stderr that `wanted` accepts, and returns it without its end. A line is
    /// returned once. The two streams have no order between them.
    ///
    /// # Errors
    /// When the process ends without it or `patience` is over, with what it printed.
    pub fn wait_for_line(
        &mut self,
        patience: Duration,
        wanted: impl Fn(&str) -> bool,
    ) -> anyhow::Result<String> {
        let found = wait_until("a line", patience, || {
            // Asked before reading, so that the last lines of one that has ended are read.
            let ended = self.readers.iter().all(JoinHandle::is_finished);
            let mut output = self.output();
            let found = output.lines.iter().position(|line| wanted(line));
            let line = found.map(|index| output.lines.remove(index));
            drop(output);
            if line.is_none() && ended {
                bail!("it ended");
            }
            Ok(line)
        });
        found.with_context(|| {
            format!(
                "waiting for a line of `{}`\nstdout:\n{}\nstderr:\n{}",
                self.name,
                self.stdout(),
                self.stderr()
            )
        })
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// When the system doesn't say.
    pub fn is_running(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Sends a signal, such as `Signal::INT` for Ctrl-C. One that has ended already gets none.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn signal(&mut self, signal: Signal) -> anyhow::Result<()> {
        if self.is_running()? {
            self.send(signal)
                .with_context(|| format!("sending {signal:?} to `{}`", self.name))?;
        }
        Ok(())
    }

    /// Kills it as `kill -9` does and waits until it is gone.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::KILL)?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it still runs after `patience`: it is killed then, and the error holds what it printed.
    pub fn wait(mut self, patience: Duration) -> anyhow::Result<Finished> {
        let ended = wait_until("its end", patience, || Ok(self.child.try_wait()?));
        let status = match ended {
            Ok(status) => status,
            Err(error) => {
                self.kill()?;
                return Err(error.context(format!(
                    "`{}` was killed\nstdout:\n{}\nstderr:\n{}",
                    self.name,
                    self.stdout(),
                    self.stderr()
                )));
            }
        };
        for reader in self.readers.drain(..) {
            // A reader only ends early when the pipe breaks; what it read stands.
            let _ = reader.join();
        }
        Ok(Finished {
            name: self.name.clone(),
            status,
            stdout: self.stdout(),
            stderr: self.stderr(),
        })
    }

    fn output(&self) -> MutexGuard<'_, Output> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, signal: Signal) -> anyhow::Result<()> {
        let id = i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .context("no process id")?;
        if self.group {
            kill_process_group(id, signal)?;
        } else {
            kill_process(id, signal)?;
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The suite is over or has failed already: there is nobody left to tell.
        let _ = self.kill();
    }
}

fn read(
    pipe: impl Read + Send + 'static,
    into: &Arc<Mutex<Output>>,
    stream: fn(&mut Output) -> &mut String,
) -> JoinHandle<()> {
    let into = Arc::clone(into);
    std::thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut bytes = Vec::new();
        while matches!(pipe.read_until(b'\n', &mut bytes), Ok(1..)) {
            let line = String::from_utf8_lossy(&bytes);
            let mut output = into.lock().unwrap_or_else(PoisonError::into_inner);
            stream(&mut output).push_str(&line);
            output.lines.push(line.trim_end().to_owned());
            drop(output);
            bytes.clear();
        }
    })
}
