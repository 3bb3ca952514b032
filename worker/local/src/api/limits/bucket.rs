//! Token buckets and rolling windows: pure, given the time. Must never read a clock or know what is
//! counted.

use std::collections::VecDeque;
use std::time::Duration;

/// A token in the unit that levels are kept in, so that any elapsed nanosecond counts exactly.
const NANOS: i128 = 1_000_000_000;

/// How fast a bucket fills, and how much it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::api) struct Rate {
    /// Tokens that come back each second.
    pub per_second: u32,
    /// Tokens in a full bucket.
    pub burst: u32,
}

impl Rate {
    /// A bucket of one second's worth.
    pub const fn per_second(per_second: u32) -> Self {
        Self {
            per_second,
            burst: per_second,
        }
    }
}

/// A token bucket, full at first. It may go into debt, when only afterwards is known what something
/// cost; then nothing is admitted until the debt is paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::api) struct Bucket {
    rate: Rate,
    /// In billionths of a token.
    level: i128,
    /// When the level was right.
    at: Duration,
}

impl Bucket {
    pub fn full(rate: Rate, now: Duration) -> Self {
        Self {
            rate,
            level: i128::from(rate.burst) * NANOS,
            at: now,
        }
    }

    /// Lets time pass. Time that goes backwards is no time.
    fn refill(&mut self, now: Duration) {
        let elapsed = now.saturating_sub(self.at);
        self.at = self.at.max(now);
        let nanos = i128::try_from(elapsed.as_nanos()).unwrap_or(i128::MAX);
        let more = nanos.saturating_mul(i128::from(self.rate.per_second));
        self.level = self
            .level
            .saturating_add(more)
            .min(i128::from(self.rate.burst) * NANOS);
    }

    /// Whether `tokens` can be taken now. More than the bucket holds can be once it is full.
    pub fn has(&mut self, tokens: u64, now: Duration) -> bool {
        self.refill(now);
        self.level >= i128::from(tokens.min(u64::from(self.rate.burst))) * NANOS
    }

    /// Whether anything is left.
    pub fn is_in_credit(&mut self, now: Duration) -> bool {
        self.refill(now);
        self.level > 0
    }

    /// Takes `tokens`, whether or not they are there.
    pub fn take(&mut self, tokens: u64, now: Duration) {
        self.refill(now);
        self.level -= i128::from(tokens) * NANOS;
    }

    /// Takes `tokens` for something that was let through while there was credit. More than the
    /// bucket holds isn't helped by what was in it: 10 MiB at 2 MiB a second last five seconds.
    pub fn charge(&mut self, tokens: u64, now: Duration) {
        self.take(tokens, now);
        if tokens > u64::from(self.rate.burst) {
            self.level = self.level.min(-i128::from(tokens) * NANOS);
        }
    }

    /// How long until the debt is paid.
    pub fn debt(&mut self, now: Duration) -> Duration {
        self.refill(now);
        let per_second = i128::from(self.rate.per_second.max(1));
        let nanos = (-self.level).max(0).div_euclid(per_second)
            + i128::from((-self.level).max(0).rem_euclid(per_second) > 0);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Whether it is as if it had never been used.
    pub fn is_full(&mut self, now: Duration) -> bool {
        self.refill(now);
        self.level >= i128::from(self.rate.burst) * NANOS
    }
}

/// At most so many in any period.
#[derive(Debug, Clone, Default)]
pub(in crate::api) struct Rolling {
    times: VecDeque<Duration>,
}

impl Rolling {
    /// Counts one if fewer than `most` were counted in the `period` before `now`.
    pub fn admit(&mut self, most: usize, period: Duration, now: Duration) -> bool {
        self.forget(period, now);
        let admitted = self.times.len() < most;
        if admitted {
            self.times.push_back(now);
        }
        admitted
    }

    fn forget(&mut self, period: Duration, now: Duration) {
        while (self.times.front()).is_some_and(|time| now.saturating_sub(*time) >= period) {
            self.times.pop_front();
        }
    }

    /// Whether it is as if nothing had been counted.
    pub fn is_empty(&mut self, period: Duration, now: Duration) -> bool {
        self.forget(period, now);
        self.times.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Steps of time and sizes, as a client might try them.
    fn attempts() -> impl Strategy<Value = Vec<(u64, u64)>> {
        prop::collection::vec((0..400_000_000_u64, 1..20_u64), 1..300)
    }

    proptest! {
        #[test]
        fn no_second_admits_more_than_bucket_and_rate(attempts in attempts(), rate in 1..50_u32, burst in 20..100_u32) {
            let rate = Rate { per_second: rate, burst };
            let mut bucket = Bucket::full(rate, Duration::ZERO);
            let mut now = Duration::ZERO;
            let mut admitted: Vec<(Duration, u64)> = Vec::new();
            for (step, tokens) in attempts {
                now += Duration::from_nanos(step);
                if bucket.has(tokens, now) {
                    bucket.take(tokens, now);
                    admitted.push((now, tokens));
                }
            }
            for (place, (begin, _)) in admitted.iter().enumerate() {
                let window = admitted[place..].iter().take_while(|(at, _)| *at - *begin < SECOND);
                let sum: u64 = window.map(|(_, tokens)| tokens).sum();
                prop_assert!(sum <= u64::from(rate.burst + rate.per_second), "{sum} in a second");
            }
        }

        #[test]
        fn debts_are_paid_at_the_rate_whatever_they_are(sizes in prop::collection::vec(0..100_u64, 1..50), rate in 1..20_u32) {
            let rate = Rate::per_second(rate);
            let mut bucket = Bucket::full(rate, Duration::ZERO);
            let mut now = Duration::ZERO;
            let mut charged = 0;
            for size in sizes {
                bucket.charge(size, now);
                charged += size;
                now += bucket.debt(now) + Duration::from_nanos(1);
                prop_assert!(bucket.is_in_credit(now));
            }
            // One bucket is free; the rest took its time.
            let nanos = u128::from(charged.saturating_sub(u64::from(rate.burst))) * 1_000_000_000;
            prop_assert!(now.as_nanos() * u128::from(rate.per_second) >= nanos);
        }

        #[test]
        fn a_rolling_window_never_holds_more_than_it_may(steps in prop::collection::vec(0..50_u64, 1..200), most in 1..10_usize) {
            let period = Duration::from_secs(100);
            let mut rolling = Rolling::default();
            let mut now = Duration::ZERO;
            let mut admitted: Vec<Duration> = Vec::new();
            for step in steps {
                now += Duration::from_secs(step);
                if rolling.admit(most, period, now) {
                    admitted.push(now);
                }
                let inside = admitted.iter().filter(|at| now - **at < period).count();
                prop_assert!(inside <= most);
                // And it doesn't refuse without need.
                prop_assert!(admitted.last() == Some(&now) || inside == most);
            }
        }
    }

    #[test]
    fn what_is_larger_than_the_bucket_passes_when_it_is_full_and_is_paid_off_in_full() {
        let mut bucket = Bucket::full(Rate::per_second(10), Duration::ZERO);
        assert!(bucket.has(35, Duration::ZERO));
        bucket.take(35, Duration::ZERO);
        assert!(!bucket.has(1, Duration::from_millis(2_500)));
        assert!(bucket.has(1, Duration::from_millis(2_600)));
        assert!(!bucket.has(35, Duration::from_millis(3_499)));
        assert!(bucket.has(35, Duration::from_millis(3_500)));
    }

    #[test]
    fn time_that_goes_backwards_gives_nothing_and_takes_nothing() {
        let mut bucket = Bucket::full(Rate::per_second(2), SECOND);
        bucket.take(2, SECOND);
        assert!(!bucket.has(1, Duration::ZERO));
        assert!(!bucket.has(1, SECOND));
        assert!(bucket.has(1, SECOND * 2));
    }

    #[test]
    fn an_age_of_rest_fills_the_bucket_and_no_more() {
        let mut bucket = Bucket::full(Rate::per_second(u32::MAX), Duration::ZERO);
        bucket.charge(u64::MAX, Duration::ZERO);
        assert!(bucket.is_full(Duration::MAX));
        assert!(bucket.has(u64::MAX, Duration::MAX));
        assert_eq!(bucket.debt(Duration::MAX), Duration::ZERO);
    }
}
