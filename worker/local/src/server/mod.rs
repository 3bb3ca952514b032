//! The server: listens, keeps the connections and runs the upkeep. Must never decide what an
//! operation answers.

mod event_stream;
mod faulty;
mod http;
mod records;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

use self::http::Service;
use crate::api::{Kinesis, KinesisOptions};
use crate::faults::{Faults, Script};
use crate::store::StoreError;

/// Connections served at once; more wait.
const MAX_CONNECTIONS: usize = 4096;
/// How long a connection may take to begin a request, and to send all of its head: longer than clients keep an idle
/// connection (the AWS SDKs 90 s at most), so that none is closed that is about to be used.
const HEAD_WITHIN: Duration = Duration::from_secs(120);
/// How often expired records are given up and appends are made to survive a power failure.
const UPKEEP_EVERY: Duration = Duration::from_secs(1);
/// How long requests in flight may take when the server is stopped.
const DRAIN: Duration = Duration::from_secs(5);

/// How to start a server.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The log behind it.
    pub kinesis: KinesisOptions,
    /// What goes wrong on purpose; also opens `/_stockstream/faults`, where it is read and replaced.
    pub faults: Option<Script>,
}

impl Default for ServerOptions {
    /// A free loopback port and a log in memory.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            kinesis: KinesisOptions::default(),
            faults: None,
        }
    }
}

/// Why a server didn't start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Another process listens there.
    #[error(
        "can't listen on {address}: the port is in use; choose another one, or 0 for a free one"
    )]
    PortInUse {
        /// The address asked for.
        address: SocketAddr,
    },
    /// The address can't be listened on.
    #[error("can't listen on {address}: {source}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// The system's error.
        source: std::io::Error,
    },
    /// The log can't be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A running server. Dropping it stops it without waiting; [`Server::shutdown`] waits.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    kinesis: Arc<Kinesis>,
    faults: Option<Faults>,
    stop: watch::Sender<bool>,
    accepting: JoinHandle<()>,
    upkeep: JoinHandle<()>,
}

impl Server {
    /// Opens the log and serves it. Runs on the calling tokio runtime.
    ///
    /// # Errors
    /// The port is in use, or the log can't be opened.
    pub async fn start(options: ServerOptions) -> Result<Self, ServerError> {
        let address = options.listen;
        // Before the log is opened, so that a second start by mistake touches nothing.
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| match source.kind() {
                std::io::ErrorKind::AddrInUse => ServerError::PortInUse { address },
                _ => ServerError::Listen { address, source },
            })?;
        let address = listener
            .local_addr()
            .map_err(|source| ServerError::Listen { address, source })?;
        let opening = tokio::task::spawn_blocking(move || Kinesis::open(options.kinesis));
        let kinesis = match opening.await {
            Ok(kinesis) => Arc::new(kinesis?),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        let faults = options.faults.map(Faults::new);
        let (stop, stopped) = watch::channel(false);
        let service = Service {
            kinesis: kinesis.clone(),
            faults: faults.clone(),
            stopped: stopped.clone(),
        };
        Ok(Self {
            address,
            accepting: tokio::spawn(accept(listener, service)),
            upkeep: tokio::spawn(keep_up(kinesis.clone(), stopped)),
            kinesis,
            faults,
            stop,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The endpoint for AWS clients.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The log behind it, for calls without HTTP.
    #[must_use]
    pub fn kinesis(&self) -> &Arc<Kinesis> {
        &self.kinesis
    }

    /// The scripted faults, if it was started with a script.
    #[must_use]
    pub fn faults(&self) -> Option<&Faults> {
        self.faults.as_ref()
    }

    /// Stops: answers what was asked, makes everything survive a power failure, lets the directory go.
    pub async fn shutdown(self) {
        self.stop.send_replace(true);
        for (name, task) in [("accepting", self.accepting), ("upkeep", self.upkeep)] {
            if let Err(error) = task.await {
                tracing::error!(%error, name, "a task of the server failed");
            }
        }
        let kinesis = self.kinesis;
        // Closing the store waits for its threads.
        let closing = tokio::task::spawn_blocking(move || {
            if let Err(error) = kinesis.maintain() {
                tracing::error!(%error, "the last upkeep failed");
            }
            drop(kinesis);
        });
        if let Err(error) = closing.await {
            tracing::error!(%error, "closing the log failed");
        }
    }
}

async fn accept(listener: TcpListener, service: Service) {
    let mut stopped = service.stopped.clone();
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if slots.available_permits() == 0 {
            tracing::warn!(
                MAX_CONNECTIONS,
                "as many connections as there may be: more wait for one to end"
            );
        }
        let slot = slots.clone().acquire_owned();
        let accepted = async { (slot.await, listener.accept().await) };
        let (slot, accepted) = tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => break,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let service = service.clone();
                connections.spawn(async move {
                    serve(stream, service).await;
                    drop(slot);
                });
            }
            Err(error) => {
                // Out of file descriptors, for one: wait until some connection ends.
                tracing::warn!(%error, "can't accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        connections.shutdown().await;
    }
}

async fn serve(stream: TcpStream, service: Service) {
    let mut stopped = service.stopped.clone();
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "can't set TCP_NODELAY");
    }
    let service = service_fn(move |request| http::answer(service.clone(), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let stop = async {
        // An error means that the server was dropped: stop as well.
        let _ = stopped.wait_for(|stop| *stop).await;
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

async fn keep_up(kinesis: Arc<Kinesis>, mut stopped: watch::Receiver<bool>) {
    let mut every = tokio::time::interval(UPKEEP_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return,
            _ = every.tick() => {}
        }
        let kinesis = kinesis.clone();
        match tokio::task::spawn_blocking(move || kinesis.maintain()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "upkeep failed"),
            Err(error) => tracing::error!(%error, "upkeep failed"),
        }
    }
}
