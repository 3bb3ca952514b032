//! The watermark of a shard, the floors it inherited, and the advance of an idle shard.
//!
//! Owns when a window counts as closed. Must never go backwards.

use crate::checkpoint::Floor;
use crate::time::{Micros, Monotonic};

/// Where an idle shard's watermark counts from.
#[derive(Clone, Copy, Debug)]
struct IdleBase {
    watermark: Micros,
    since: Monotonic,
}

/// A shard's watermark and floors.
#[derive(Clone, Debug, Default)]
pub struct Watermark {
    own: Option<Micros>,
    floors: Vec<Floor>,
    idle: Option<IdleBase>,
}

impl Watermark {
    /// As a checkpoint holds them; idle time counts from `now`, the take.
    pub fn restore(own: Option<Micros>, floors: Vec<Floor>, now: Monotonic) -> Self {
        let mut watermark = Watermark {
            own,
            floors,
            idle: None,
        };
        watermark.restart_idle(now);
        watermark
    }

    /// The shard's own watermark.
    pub fn own(&self) -> Option<Micros> {
        self.own
    }

    /// The floors that still matter.
    pub fn floors(&self) -> &[Floor] {
        &self.floors
    }

    /// Windows of the key with this hash that end at or before the answer are closed.
    pub fn closed_through(&self, hash: u128) -> Option<Micros> {
        let floors = self
            .floors
            .iter()
            .filter(|floor| floor.range.contains(hash))
            .map(|floor| floor.watermark);
        floors.chain(self.own).max()
    }

    /// Raises the watermark to `to`, and says whether that was higher. Floors that it has passed are dropped.
    pub fn raise(&mut self, to: Micros) -> bool {
        if self.own.is_some_and(|own| to <= own) {
            return false;
        }
        self.own = Some(to);
        if !self.floors.is_empty() {
            self.floors.retain(|floor| floor.watermark > to);
        }
        true
    }

    /// Counts the idle time from `now`, from the highest watermark that any key of the shard has.
    pub fn restart_idle(&mut self, now: Monotonic) {
        let floors = self.floors.iter().map(|floor| floor.watermark);
        self.idle = floors.chain(self.own).max().map(|watermark| IdleBase {
            watermark,
            since: now,
        });
    }

    /// Where the watermark stands by an empty reply at the tip to a request sent at `sent`: the base plus the time
    /// passed, once that is at least `timeout` microseconds.
    pub fn idle_target(&self, sent: Monotonic, timeout: i64) -> Option<Micros> {
        let base = self.idle?;
        let elapsed = sent.since(base.since);
        (elapsed >= timeout).then(|| base.watermark.plus(elapsed))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::hash::HashRange;

    fn floor(start: u128, end: u128, watermark: i64) -> Floor {
        Floor {
            range: HashRange::new(start, end).unwrap(),
            watermark: Micros(watermark),
        }
    }

    #[test]
    fn floors_hold_for_their_keys_until_the_watermark_has_passed_them() {
        let floors = vec![floor(0, 9, 100), floor(10, 19, 50)];
        let mut watermark = Watermark::restore(Some(Micros(40)), floors, Monotonic(0));
        assert_eq!(watermark.closed_through(5), Some(Micros(100)));
        assert_eq!(watermark.closed_through(15), Some(Micros(50)));
        assert_eq!(watermark.closed_through(25), Some(Micros(40)));
        assert!(watermark.raise(Micros(50)));
        assert_eq!(watermark.floors().len(), 1);
        assert!(!watermark.raise(Micros(50)));
        assert!(!watermark.raise(Micros(1)));
    }

    #[test]
    fn an_idle_shard_follows_the_time_passed_from_the_highest_base() {
        let floors = vec![floor(0, 9, 100)];
        let watermark = Watermark::restore(Some(Micros(40)), floors, Monotonic(1_000));
        assert_eq!(watermark.idle_target(Monotonic(1_029), 30), None);
        assert_eq!(
            watermark.idle_target(Monotonic(1_030), 30),
            Some(Micros(130))
        );
        // A request sent before the take says nothing.
        assert_eq!(watermark.idle_target(Monotonic(0), 30), None);
    }

    #[test]
    fn without_any_tick_there_is_nothing_to_advance() {
        let watermark = Watermark::restore(None, vec![], Monotonic(0));
        assert_eq!(watermark.idle_target(Monotonic(i64::MAX), 0), None);
        assert_eq!(watermark.closed_through(0), None);
    }
}
