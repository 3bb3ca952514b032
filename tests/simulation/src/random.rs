//! The simulation's own randomness.
//!
//! Owns the generator and the forms in which it is drawn from. Every part of a run has a generator of its own, made
//! from the seed and the part's name, so that drawing more in one part doesn't change the others.

use std::time::Duration;

/// SplitMix64.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The generator of a part of a run.
    pub fn of(seed: u64, part: &str) -> Self {
        let mut random = Random(seed ^ 0x5eed);
        for byte in part.bytes() {
            random.0 ^= u64::from(byte);
            random.bits();
        }
        random
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from `from` to below `to`; `from` when there is none.
    pub fn between(&mut self, from: i64, to: i64) -> i64 {
        let width = u64::try_from(to.saturating_sub(from)).unwrap_or(0).max(1);
        from + i64::try_from(self.bits() % width).unwrap_or(0)
    }

    /// A duration from `from` to below `to` milliseconds.
    pub fn millis(&mut self, from: i64, to: i64) -> Duration {
        Duration::from_millis(u64::try_from(self.between(from, to)).unwrap_or(0))
    }

    /// True in `per_mille` of 1,000 cases.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.bits() % 1_000 < per_mille
    }

    /// One of `all`; `None` when there are none.
    pub fn pick<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        let count = u64::try_from(all.len()).unwrap_or(0);
        let index = usize::try_from(self.bits() % count.max(1)).unwrap_or(0);
        all.get(index)
    }
}
