//! Deadlines on CLOCK_BOOTTIME, which goes on while the machine sleeps.
//!
//! Owns the only clock of the storage module. Must never be used to order events: it says only when to give up.
//! A request must not outlive its deadline by a suspended laptop's night: a late create could otherwise land after
//! others have collected what it was meant to follow.

use std::time::Duration;

pub use crate::ambient::boot_time;

/// How often a waiting request looks at CLOCK_BOOTTIME. After the machine wakes, an expired request ends within this.
const LOOK: Duration = Duration::from_secs(1);

/// A deadline has passed. Nothing was sent after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the deadline has passed")]
pub struct Expired;

/// A moment after which a request is given up and none is started.
///
/// Passes when CLOCK_BOOTTIME or tokio's clock reaches it, whichever is first; tokio's can be paused in simulations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    boot: Duration,
    monotonic: tokio::time::Instant,
}

impl Deadline {
    /// `time` from now.
    pub fn after(time: Duration) -> Self {
        let now = tokio::time::Instant::now();
        Deadline {
            boot: boot_time().saturating_add(time),
            monotonic: now.checked_add(time).unwrap_or(now),
        }
    }

    /// The earlier of two.
    #[must_use]
    pub fn min(self, other: Deadline) -> Deadline {
        Deadline {
            boot: self.boot.min(other.boot),
            monotonic: self.monotonic.min(other.monotonic),
        }
    }

    /// What is left; zero when it has passed.
    pub fn remaining(&self) -> Duration {
        let boot = self.boot.saturating_sub(boot_time());
        let monotonic = self
            .monotonic
            .saturating_duration_since(tokio::time::Instant::now());
        boot.min(monotonic)
    }

    /// Fails when it has passed.
    ///
    /// # Errors
    /// [`Expired`].
    pub fn check(&self) -> Result<(), Expired> {
        if self.remaining().is_zero() {
            Err(Expired)
        } else {
            Ok(())
        }
    }

    /// Returns when it has passed.
    pub async fn passed(&self) {
        loop {
            let left = self.remaining();
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(LOOK)).await;
        }
    }

    /// Runs `work` until the deadline.
    ///
    /// # Errors
    /// [`Expired`] when the deadline passed first; `work` is dropped, whatever it had sent.
    pub async fn run<T>(&self, work: impl Future<Output = T>) -> Result<T, Expired> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = self.passed() => Err(Expired),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_never_ends_is_given_up() {
        let deadline = Deadline::after(Duration::from_millis(5));
        assert_eq!(
            deadline.run(std::future::pending::<()>()).await,
            Err(Expired)
        );
        assert_eq!(deadline.check(), Err(Expired));
    }

    #[tokio::test]
    async fn finished_work_is_returned() {
        let deadline = Deadline::after(Duration::from_secs(60));
        assert_eq!(deadline.run(async { 7 }).await, Ok(7));
        assert_eq!(deadline.check(), Ok(()));
    }

    #[test]
    fn the_earlier_of_two_counts() {
        let (soon, later) = (
            Deadline::after(Duration::ZERO),
            Deadline::after(Duration::from_secs(60)),
        );
        assert_eq!(later.min(soon).check(), Err(Expired));
        assert!(boot_time() > Duration::ZERO);
    }
}
