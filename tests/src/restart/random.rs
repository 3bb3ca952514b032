//! Numbers that a seed decides.
//!
//! Owns the seed's name and how a run is replayed. Must never use any other source of randomness.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::tell;

/// SplitMix64 (Steele, Lea and Flood 2014): the same seed, the same numbers, on every machine.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Numbers from a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is at least 1. The bias is below `bound` / 2^64.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound.max(1)
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// A duration below `bound`, in whole microseconds.
    pub fn duration(&mut self, bound: Duration) -> Duration {
        let micros = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.below(micros))
    }
}

/// The seed of this run: `STOCKSTREAM_SEED`, or a new one. Says how to replay it.
#[must_use]
pub fn seed(suite: &str, test: &str) -> u64 {
    let given = std::env::var("STOCKSTREAM_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(1, |since| u64::from(since.subsec_nanos()) ^ since.as_secs())
    });
    tell(&format!(
        "{test}: to replay the same moments and ticks, STOCKSTREAM_SEED={seed} make suite SUITE={suite}"
    ));
    seed
}
