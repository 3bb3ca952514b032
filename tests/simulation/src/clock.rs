//! The true time of a run, and clocks that are wrong.
//!
//! Owns the calendar that a run begins at. Nothing else in a run reads a clock of the machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use stockstream::clock::Clock;
use stockstream_core::time::Micros;
use tokio::time::Instant;

/// 2024-01-02T00:00:00Z, in microseconds: the true time at which every run begins.
pub const BEGIN: i64 = 1_704_153_600_000_000;

/// The true time.
#[derive(Clone, Copy, Debug)]
pub struct World {
    start: Instant,
}

impl World {
    /// A run that begins now.
    pub fn new() -> Self {
        World {
            start: Instant::now(),
        }
    }

    /// The true time, in microseconds since the epoch.
    pub fn micros(&self) -> i64 {
        BEGIN + i64::try_from(self.elapsed().as_micros()).unwrap_or(0)
    }

    /// The true time, in milliseconds since the epoch.
    pub fn millis(&self) -> i64 {
        self.micros() / 1_000
    }

    /// How long the run has gone on.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

/// The stream's clocks are right.
impl stockstream_local::Clock for World {
    fn wall_millis(&self) -> u64 {
        u64::try_from(self.millis()).unwrap_or(0)
    }

    fn monotonic(&self) -> Duration {
        self.elapsed()
    }
}

/// A process's calendar, which may be off and may be set while the process runs.
#[derive(Clone, Debug)]
pub struct Calendar {
    world: World,
    off: Arc<AtomicI64>,
}

impl Calendar {
    /// A calendar that is off by this many milliseconds.
    pub fn off_by(world: World, millis: i64) -> Self {
        Calendar {
            world,
            off: Arc::new(AtomicI64::new(millis)),
        }
    }

    /// Sets it to be off by this many milliseconds from now on.
    pub fn set(&self, millis: i64) {
        self.off.store(millis, Ordering::SeqCst);
    }

    /// The process's clocks.
    pub fn clock(&self) -> Clock {
        let (world, off) = (self.world, self.off.clone());
        Clock::with_wall(move || Micros(world.micros() + off.load(Ordering::SeqCst) * 1_000))
    }
}
