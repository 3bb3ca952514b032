//! What `dev` and `worker` share: the observer, its server, the live table, signals, the end.
//!
//! Owns the order in which these start and stop. Must never know where ticks come from.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use stockstream_core::member::Formats;
use stockstream_crds::{Pipeline, SourceSettings};
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Program;
use super::signals::StopSignals;
use crate::ambient;
use crate::cli::{ExitStatus, Failure, GlobalArgs, Outcome, OutputFormat, RunSummary};
use crate::clock::Clock;
use crate::observe::state::{PipelineName, WorkerReport};
use crate::observe::terminal::{self, Left};
use crate::observe::{Event, Identity, Observer, PipelinePhase, http};
use crate::page::{Page, PageSettings, WorkerRoster};
use crate::pipeline::members::{HttpPeers, Incoming, Mailbox, mailbox, nudge_router};
use crate::pipeline::{Company, Host, Orders, PipelineError, Settings, Stores};
use crate::storage::Store;

/// A running `dev` or `worker`.
pub struct Session {
    /// The worker's name, clock and observer.
    pub host: Host,
    /// Orders to the pipeline.
    pub orders: watch::Sender<Orders>,
    /// Where peers reach this process, and what they must know to be heard.
    address: Option<String>,
    mailbox: Mailbox,
    incoming: Option<mpsc::Receiver<Incoming>>,
    began: Instant,
    stopped: AtomicBool,
    /// Listened to from the beginning: a worker is told to stop as soon as it exists.
    signals: Mutex<StopSignals>,
    server: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
    page: Page,
    format: OutputFormat,
}

/// How a session is shown and reached.
pub struct Manner<'a> {
    /// The worker's name.
    pub name: String,
    /// Where to serve state and metrics.
    pub listen: Option<SocketAddr>,
    /// Where peers reach that, when it isn't where it listens.
    pub advertise: Option<String>,
    /// The Kinesis endpoint, when it isn't AWS's own.
    pub endpoint: Option<&'a str>,
    /// The form of the result.
    pub format: OutputFormat,
}

impl Session {
    /// Takes the port and serves what there is to see.
    pub async fn begin(
        pipeline: &Pipeline,
        stores: &Stores,
        manner: Manner<'_>,
    ) -> Result<Self, Failure> {
        let signals = StopSignals::listen()?;
        let clock = Clock::system();
        let bound = http::bind(manner.listen).await.map_err(Failure::failed)?;
        let url = bound.url();
        let identity = identity(pipeline, places(stores), &manner, &url, &clock);
        let observer = Observer::new(identity.clone());
        observer.set_meter(stores.state.meter().clone());
        let (stop, stopped) = oneshot::channel::<()>();
        let address = manner.advertise.clone();
        let address = address.or_else(|| advertised(bound.address()));
        let (mailbox, incoming) = mailbox(random_token());
        let page = Page::new(PageSettings {
            identity,
            observer: Some(observer.clone()),
            roster: Arc::new(WorkerRoster {
                observer: observer.clone(),
            }),
            state: stores.state.clone(),
            output: stores.output.clone(),
            settings: Settings::of(pipeline),
            clock: clock.clone(),
        });
        let doors = nudge_router(mailbox.clone()).merge(page.router());
        let serving = bound.serve(observer.clone(), doors, async {
            let _ = stopped.await;
        });
        let server = tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(event = "http_failed", cause = %error, "the state is no longer served");
            }
        });
        let event = Event::Listening {
            what: "page, state and metrics".to_owned(),
            url,
        };
        observer.emit(&event, clock.wall().0);
        Ok(Session {
            host: Host {
                reads: Formats::OURS,
                name: manner.name,
                clock,
                observer,
                catalog: None,
            },
            orders: watch::Sender::new(Orders::Run),
            address,
            mailbox,
            incoming: Some(incoming),
            began: Instant::now(),
            stopped: AtomicBool::new(false),
            signals: Mutex::new(signals),
            server: Some((stop, server)),
            page,
            format: manner.format,
        })
    }

    /// What this process brings along to share a pipeline with others. Only once.
    pub fn company(&mut self, pipeline: &Pipeline) -> Company {
        let gone = || mpsc::channel(1).1;
        Company {
            heartbeat: pipeline.state().heartbeat,
            expiry: pipeline.state().expiry,
            address: self.address.clone(),
            peers: Arc::new(HttpPeers),
            mailbox: self.mailbox.clone(),
            incoming: self.incoming.take().unwrap_or_else(gone),
        }
    }

    /// What a beginning leads to, or `None` when the process is told to stop before.
    pub async fn unless_stopped<T>(&self, beginning: impl Future<Output = T>) -> Option<T> {
        let mut signals = self.signals.lock().await;
        tokio::select! {
            begun = beginning => Some(begun),
            () = signals.next() => {
                self.stop("signal");
                None
            }
        }
    }

    /// Says where another server of this process listens.
    pub fn tell_listening(&self, what: &str, url: String) {
        let event = Event::Listening {
            what: what.to_owned(),
            url,
        };
        self.host.observer.emit(&event, self.host.clock.wall().0);
    }

    /// Waits for the pipeline's end, while the table is shown and signals are heeded; a second signal ends at once.
    pub async fn until_end(
        &self,
        program: &Program,
        global: &GlobalArgs,
        pipeline: JoinHandle<Result<(), PipelineError>>,
    ) -> Result<(), Failure> {
        let table = Table::show_if_possible(program, global, &self.host.observer);
        let mut pipeline = pipeline;
        let (mut left, stop_table) = match table {
            Some(table) => (Some(table.left), Some(table.stop)),
            None => (None, None),
        };
        let mut asked = false;
        let mut signals = self.signals.lock().await;
        let result = loop {
            tokio::select! {
                ended = &mut pipeline => break Some(ended),
                () = signals.next() => {
                    if std::mem::replace(&mut asked, true) {
                        break None;
                    }
                    self.stop("signal");
                }
                table_left = async { match left.as_mut() { Some(left) => left.await, None => std::future::pending().await } } => {
                    left = None;
                    if !asked && matches!(table_left, Ok(Left::Asked)) {
                        asked = true;
                        self.stop("asked at the terminal");
                    }
                }
            }
        };
        drop(stop_table);
        if let Some(left) = left {
            let _ = left.await; // the terminal is restored before anything else is printed
        }
        match result {
            Some(Ok(Ok(()))) => Ok(()),
            Some(Ok(Err(error))) => Err(Failure::failed(error)),
            Some(Err(error)) => Err(Failure::failed(error)),
            None => Err(Failure::failed("ended at once, at the second signal")
                .hint("what was committed is safe: the next start publishes what is missing")),
        }
    }

    fn stop(&self, reason: &str) {
        let event = Event::Stopping {
            reason: reason.to_owned(),
        };
        self.host.observer.emit(&event, self.host.clock.wall().0);
        self.stopped.store(true, Ordering::Relaxed);
        self.orders.send_replace(Orders::Stop);
    }

    /// Orders that every window be closed once everything sent so far has been read.
    pub fn drain(&self) {
        self.orders.send_if_modified(|orders| {
            let runs = *orders == Orders::Run;
            if runs {
                *orders = Orders::Drain(self.host.clock.monotonic());
            }
            runs
        });
    }

    /// Late ticks of this run.
    pub fn late(&self) -> u64 {
        let observer = &self.host.observer;
        let (now, at_take) = (
            observer.report().totals.late,
            observer.totals_at_take().late,
        );
        now.saturating_sub(at_take)
    }

    /// Stops serving, and prints the summary. A run that was to come to an end of its own fails when it was stopped.
    pub async fn end(mut self, bounded: bool) -> Outcome {
        let report = self.host.observer.report();
        let totals = &report.totals;
        let event = Event::Stopped {
            ticks: totals.ticks,
            rows: totals.rows_published,
            files: totals.files_published,
        };
        self.host.observer.set_phase(PipelinePhase::Finished, None);
        self.host.observer.emit(&event, self.host.clock.wall().0);
        if let Some((stop, server)) = self.server.take() {
            self.page.stop();
            let _ = stop.send(());
            // A client that holds its connection open must not hold the process.
            let _ = tokio::time::timeout(Duration::from_secs(1), server).await;
        }
        let at_take = self.host.observer.totals_at_take();
        RunSummary::of(&report, &at_take, self.began.elapsed().as_secs_f64()).print(self.format)?;
        if bounded && self.stopped.load(Ordering::Relaxed) {
            return Err(Failure::failed("stopped before the end")
                .hint("the same command goes on from here"));
        }
        Ok(ExitStatus::Done)
    }
}

struct Table {
    left: JoinHandle<Left>,
    stop: terminal::StopTable,
}

impl Table {
    fn show_if_possible(
        program: &Program,
        global: &GlobalArgs,
        observer: &Observer,
    ) -> Option<Table> {
        if !terminal::is_possible() {
            return None;
        }
        let (table, stop) = terminal::table(observer.clone(), global.color.enabled(true));
        let hold = program.log.hold();
        let left = tokio::task::spawn_blocking(move || {
            let left = table.show();
            drop(hold);
            left.unwrap_or_else(|error| {
                tracing::warn!(event = "table_failed", cause = %error, "going on without the table");
                Left::Told
            })
        });
        Some(Table { left, stop })
    }
}

fn places(stores: &Stores) -> [&str; 3] {
    [&stores.state, &stores.output, &stores.rejects].map(Store::url)
}

/// What is known before anything is read; state, output and rejects path are given as URLs.
pub(super) fn identity(
    pipeline: &Pipeline,
    [state, output, rejects]: [&str; 3],
    manner: &Manner<'_>,
    url: &str,
    clock: &Clock,
) -> Identity {
    Identity {
        pipeline: PipelineName {
            namespace: pipeline.namespace().to_owned(),
            name: pipeline.name().to_owned(),
        },
        stream: match pipeline.source() {
            SourceSettings::Kinesis(kinesis) => kinesis.stream_name.clone(),
            SourceSettings::Files(files) => files.paths.join(", "),
        },
        worker: WorkerReport {
            member_id: manner.name.clone(),
            version: crate::cli::version().to_owned(),
            started_at: clock.wall().0,
            endpoint: manner.endpoint.map(str::to_owned),
            listen: Some(url.to_owned()),
        },
        output_path: output.to_owned(),
        rejects_path: rejects.to_owned(),
        state_path: state.to_owned(),
        aggregates: pipeline
            .window()
            .aggregates
            .iter()
            .map(|aggregate| aggregate.name.clone())
            .collect(),
    }
}

/// Where others reach a server that listens there; an unspecified address is this machine's own on its way out.
fn advertised(listens: SocketAddr) -> Option<String> {
    if !listens.ip().is_unspecified() {
        return Some(listens.to_string());
    }
    // Connecting a UDP socket sends nothing: it only chooses the way. The address is one that documentation uses.
    let (any, far) = match listens {
        SocketAddr::V4(_) => ("0.0.0.0:0", "192.0.2.1:9"),
        SocketAddr::V6(_) => ("[::]:0", "[2001:db8::1]:9"),
    };
    let socket = std::net::UdpSocket::bind(any).ok()?;
    socket.connect(far).ok()?;
    let own = socket.local_addr().ok()?;
    Some(SocketAddr::new(own.ip(), listens.port()).to_string())
}

/// What peers must know to be heard: written into this worker's `info`, shown nowhere else.
fn random_token() -> String {
    let part = || ambient::random_u64().unwrap_or_default();
    format!("{:016x}{:016x}", part(), part())
}

/// This machine's name, for a worker that wasn't given one.
pub fn host_name() -> String {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy();
    let short: String = name
        .chars()
        .take_while(|character| *character != '.')
        .filter(|character| character.is_ascii_alphanumeric() || *character == '-')
        .take(50)
        .collect();
    match short.is_empty() {
        true => "worker".to_owned(),
        false => short,
    }
}

/// An `Arc` of the client, for the pipeline.
pub fn shared<T: crate::source::kinesis::StreamClient + 'static>(
    client: T,
) -> Arc<dyn crate::source::kinesis::StreamClient> {
    Arc::new(client)
}
