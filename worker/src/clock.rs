//! The process's clocks.
//!
//! Owns reading them; everything else takes times as arguments. The monotonic clock is tokio's, so that a simulation
//! on tokio's paused clock drives it.

use std::sync::Arc;
use std::time::Duration;

use stockstream_core::time::{Micros, Monotonic};
use tokio::time::Instant;

/// Wall and monotonic time.
#[derive(Clone)]
pub struct Clock {
    origin: Instant,
    /// The calendar at the origin.
    #[cfg(feature = "mutants")]
    began: Micros,
    wall: Arc<dyn Fn() -> Micros + Send + Sync>,
}

impl Clock {
    /// The machine's clocks.
    pub fn system() -> Self {
        Self::with_wall(|| Micros(jiff::Timestamp::now().as_microsecond()))
    }

    /// A wall clock of the caller's.
    pub fn with_wall(wall: impl Fn() -> Micros + Send + Sync + 'static) -> Self {
        Clock {
            origin: Instant::now(),
            #[cfg(feature = "mutants")]
            began: wall(),
            wall: Arc::new(wall),
        }
    }

    /// Now, by the calendar. Never used to decide about windows.
    pub fn wall(&self) -> Micros {
        (self.wall)()
    }

    /// Now, on the monotonic clock.
    pub fn monotonic(&self) -> Monotonic {
        Monotonic(micros(self.origin.elapsed()))
    }

    /// What a calendar that is trusted makes of the monotonic clock.
    #[cfg(feature = "mutants")]
    pub fn by_calendar(&self) -> Monotonic {
        Monotonic(self.wall().0 - self.began.0)
    }

    /// The instant of a monotonic reading, to sleep until.
    pub fn instant(&self, at: Monotonic) -> Instant {
        self.origin + Duration::from_micros(u64::try_from(at.0).unwrap_or(0))
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Clock")
    }
}

/// A duration in microseconds; saturates.
pub fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
