//! Time as the log sees it. Owns the only read of the system's clocks in this crate; everything
//! else is given a [`Clock`] or an instant, so that a simulation can drive the log.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where the log gets its time from.
pub trait Clock: Debug + Send + Sync {
    /// Milliseconds since the Unix epoch. May jump in either direction.
    fn wall_millis(&self) -> u64;

    /// Time since an arbitrary fixed moment. Never goes backwards.
    fn monotonic(&self) -> Duration;
}

/// The machine's own clocks.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the clock the rest of the crate is given"
    )]
    #[must_use]
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the clock the rest of the crate is given"
    )]
    fn wall_millis(&self) -> u64 {
        // A clock before 1970 reads as 0: arrival times are clamped per shard anyway.
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |elapsed| {
                u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
            })
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}

/// A clock that moves only when told to: for simulations and tests.
#[derive(Debug)]
pub struct ManualClock {
    wall_millis: AtomicU64,
    monotonic_millis: AtomicU64,
}

impl ManualClock {
    /// A clock that stands at `wall_millis` (milliseconds since the Unix epoch).
    #[must_use]
    pub fn new(wall_millis: u64) -> Self {
        Self {
            wall_millis: AtomicU64::new(wall_millis),
            monotonic_millis: AtomicU64::new(0),
        }
    }

    /// Lets time pass: both clocks move on.
    pub fn advance(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.wall_millis.fetch_add(millis, Ordering::SeqCst);
        self.monotonic_millis.fetch_add(millis, Ordering::SeqCst);
    }

    /// Sets the wall clock, forwards or backwards; monotonic time stays.
    pub fn set_wall_millis(&self, wall_millis: u64) {
        self.wall_millis.store(wall_millis, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn wall_millis(&self) -> u64 {
        self.wall_millis.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.monotonic_millis.load(Ordering::SeqCst))
    }
}
