//! SIGINT and SIGTERM, from the moment on at which somebody listens.
//!
//! Owns that none is lost between two waits, and that a process which is the first of its container (whom the kernel shields
//! from signals that nobody listens to) can be stopped while it still begins.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::Failure;

/// Listens until it is dropped.
#[derive(Debug)]
pub struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    /// Listens from now on.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn listen() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(Failure::failed);
        Ok(StopSignals {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    /// Ready at the next one.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
