//! Whether the open shards hold every hash key exactly once.

use crate::hash::HashRange;

/// What is wrong with a set of ranges that should hold every key once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Keys that no range holds, in order.
    pub holes: Vec<HashRange>,
    /// Keys that more than one range holds, in order; touching stretches are one.
    pub overlaps: Vec<HashRange>,
}

impl Coverage {
    /// True when every key is held exactly once.
    pub fn is_complete(&self) -> bool {
        self.holes.is_empty() && self.overlaps.is_empty()
    }
}

/// Compares the open shards' ranges with the whole key space. While a stream reshards, holes and overlaps are normal for
/// a listing or two.
pub fn coverage(open: &[HashRange]) -> Coverage {
    let mut ranges = open.to_vec();
    ranges.sort_unstable();
    let mut overlaps: Vec<HashRange> = Vec::new();
    let mut covered: Option<u128> = None; // the highest key held so far
    for range in &ranges {
        if let Some(highest) = covered
            && let Some(twice) = HashRange::new(range.start(), range.end().min(highest))
        {
            push_joined(&mut overlaps, twice);
        }
        covered = Some(covered.map_or(range.end(), |highest| highest.max(range.end())));
    }
    Coverage {
        holes: HashRange::ALL.without(&ranges),
        overlaps,
    }
}

/// Adds a range that begins no earlier than the last one; joins them when they touch.
fn push_joined(ranges: &mut Vec<HashRange>, next: HashRange) {
    if let Some(last) = ranges.last_mut()
        && next.start() <= last.end().saturating_add(1)
        && let Some(joined) = HashRange::new(last.start(), last.end().max(next.end()))
    {
        *last = joined;
    } else {
        ranges.push(next);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn range(start: u128, end: u128) -> HashRange {
        HashRange::new(start, end).unwrap()
    }

    #[test]
    fn shards_that_hold_every_key_once_are_complete() {
        let half = u128::MAX / 2;
        assert!(coverage(&[range(half + 1, u128::MAX), range(0, half)]).is_complete());
    }

    #[test]
    fn without_shards_everything_is_a_hole() {
        assert_eq!(coverage(&[]).holes, [HashRange::ALL]);
    }

    proptest! {
        #[test]
        fn every_key_is_told_by_how_many_hold_it(
            ranges in proptest::collection::vec((0u128..30, 0u128..30), 0..6),
            high in any::<bool>(),
        ) {
            let shift = if high { u128::MAX - 30 } else { 0 };
            let ranges: Vec<_> = ranges
                .into_iter()
                .map(|(a, b)| range(shift + a.min(b), shift + a.max(b)))
                .collect();
            let found = coverage(&ranges);
            for key in (0..=30).map(|offset| shift + offset) {
                let holders = ranges.iter().filter(|range| range.contains(key)).count();
                let said = |list: &[HashRange]| list.iter().filter(|range| range.contains(key)).count();
                prop_assert_eq!(said(&found.holes), usize::from(holders == 0));
                prop_assert_eq!(said(&found.overlaps), usize::from(holders > 1));
            }
        }
    }
}
