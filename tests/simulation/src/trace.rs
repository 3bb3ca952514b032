//! What happened in a run, in order.
//!
//! Owns the hash over every event, which two runs of a seed must share, and the readable trace of a replayed seed.

use std::fmt::{Arguments, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

/// A run's events. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Trace {
    start: Instant,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    line: String,
    hash: u64,
    events: u64,
    kept: Option<Vec<String>>,
}

impl Trace {
    /// An empty trace that begins now. `keeps` says whether its lines are kept.
    pub fn new(keeps: bool) -> Self {
        Trace {
            start: Instant::now(),
            shared: Arc::new(Mutex::new(Shared {
                line: String::new(),
                hash: 0xcbf2_9ce4_8422_2325,
                events: 0,
                kept: keeps.then(Vec::new),
            })),
        }
    }

    /// Notes an event.
    pub fn note(&self, event: Arguments<'_>) {
        let micros = self.start.elapsed().as_micros();
        let mut shared = self.shared();
        let shared = &mut *shared;
        shared.line.clear();
        // Writing to a String can't fail.
        let _ = write!(
            shared.line,
            "{:>4}.{:06} {event}",
            micros / 1_000_000,
            micros % 1_000_000
        );
        for byte in shared.line.bytes() {
            // FNV-1a
            shared.hash = (shared.hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
        shared.events += 1;
        if let Some(kept) = &mut shared.kept {
            kept.push(shared.line.clone());
        }
    }

    /// The hash over all events so far.
    pub fn hash(&self) -> u64 {
        self.shared().hash
    }

    /// Events so far.
    pub fn events(&self) -> u64 {
        self.shared().events
    }

    /// The lines kept so far.
    pub fn take_lines(&self) -> Vec<String> {
        self.shared().kept.take().unwrap_or_default()
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notes an event in a [`Trace`], formatted.
#[macro_export]
macro_rules! note {
    ($trace:expr, $($format:tt)+) => { $trace.note(format_args!($($format)+)) };
}
