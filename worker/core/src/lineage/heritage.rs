//! The algebra of taking state over: what ranges of ended chains are worth to a new shard.
//!
//! Owns windows, latest closes, watermark, floors and figures of a first version. Must never lose a window, keep one
//! twice, or let a figure be computed from a part of its window's ticks.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{LineageError, Source};
use crate::aggregate::relay;
use crate::checkpoint::{Floor, Generation, Latest, OpenWindow};
use crate::generation;
use crate::hash::{HashRange, key_hash};
use crate::time::Micros;

/// What a first version takes over.
#[derive(Debug, Default)]
pub(super) struct Heritage {
    pub(super) watermark: Option<Micros>,
    pub(super) read_through: Option<Micros>,
    pub(super) floors: Vec<Floor>,
    pub(super) generations: Vec<Generation>,
    pub(super) windows: Vec<OpenWindow>,
    pub(super) latest: Vec<Latest>,
}

/// What the sources' ranges within `range` hold together.
pub(super) fn gather(
    sources: &[Source<'_>],
    range: HashRange,
    window_size: i64,
) -> Result<Heritage, LineageError> {
    let parts: Vec<Part<'_>> = sources
        .iter()
        .filter_map(|source| Part::new(source, range))
        .collect();
    let generations = generations(&parts, window_size)?;
    let watermark = parts
        .iter()
        .filter_map(|part| part.source.checkpoint.watermark)
        .min();
    Ok(Heritage {
        watermark,
        // Records of the new shard arrived after all of its parents had closed.
        read_through: parts
            .iter()
            .filter_map(|part| part.source.checkpoint.read_through)
            .max(),
        floors: highest_floors(&floors(&parts), watermark),
        windows: windows(&parts, generation::newest(&generations))?,
        latest: latest(&parts),
        generations,
    })
}

/// A source and its keys that the new shard gets.
struct Part<'a> {
    source: &'a Source<'a>,
    ranges: Vec<HashRange>,
    /// Its open windows of these keys.
    windows: Vec<&'a OpenWindow>,
}

impl<'a> Part<'a> {
    /// `None` when the shard gets none of its keys.
    fn new(source: &'a Source<'a>, range: HashRange) -> Option<Self> {
        let ranges: Vec<HashRange> = source
            .ranges
            .iter()
            .filter_map(|own| {
                own.intersection(&range)?
                    .intersection(&source.checkpoint.range)
            })
            .collect();
        let windows = source.checkpoint.windows.iter();
        let windows = windows
            .filter(|window| holds(&ranges, &window.ticker))
            .collect();
        (!ranges.is_empty()).then_some(Part {
            source,
            ranges,
            windows,
        })
    }
}

fn holds(ranges: &[HashRange], ticker: &str) -> bool {
    let hash = key_hash(ticker);
    ranges.iter().any(|range| range.contains(hash))
}

fn generations(parts: &[Part<'_>], window_size: i64) -> Result<Vec<Generation>, LineageError> {
    let lists: Vec<(&[Generation], Option<Micros>)> = parts
        .iter()
        .map(|part| {
            let ends = part
                .windows
                .iter()
                .map(|window| window.start.plus(window_size));
            let newest = ends.max();
            (part.source.checkpoint.generations.as_slice(), newest)
        })
        .collect();
    generation::merged(&lists).map_err(|name| LineageError::FigureConflict {
        name,
        shards: parts
            .iter()
            .map(|part| part.source.checkpoint.shard.as_str())
            .collect::<Vec<_>>()
            .join(", "),
    })
}

fn windows(
    parts: &[Part<'_>],
    figures: &[crate::plan::Aggregate],
) -> Result<Vec<OpenWindow>, LineageError> {
    let mut windows: BTreeMap<(Micros, Arc<str>), OpenWindow> = BTreeMap::new();
    for part in parts {
        let own = generation::newest(&part.source.checkpoint.generations);
        for window in &part.windows {
            let mut kept = (*window).clone();
            kept.slots = relay(&window.slots, own, figures);
            if let Some(twice) = windows.insert((window.start, window.ticker.clone()), kept) {
                return Err(LineageError::WindowTwice {
                    ticker: twice.ticker,
                    start: twice.start,
                });
            }
        }
    }
    Ok(windows.into_values().collect())
}

fn latest(parts: &[Part<'_>]) -> Vec<Latest> {
    let mut latest: BTreeMap<Arc<str>, Latest> = BTreeMap::new();
    for part in parts {
        let known = part.source.checkpoint.latest.iter();
        for own in known.filter(|own| holds(&part.ranges, &own.ticker)) {
            latest.insert(own.ticker.clone(), own.clone());
        }
    }
    latest.into_values().collect()
}

/// Every source's own floors, and its watermark over its ranges.
fn floors(parts: &[Part<'_>]) -> Vec<Floor> {
    let mut floors = Vec::new();
    for Part { source, ranges, .. } in parts {
        let checkpoint = source.checkpoint;
        let own = checkpoint.watermark.map(|watermark| Floor {
            range: checkpoint.range,
            watermark,
        });
        for floor in checkpoint.floors.iter().chain(&own) {
            let within = ranges
                .iter()
                .filter_map(|own| own.intersection(&floor.range));
            floors.extend(within.map(|range| Floor {
                range,
                watermark: floor.watermark,
            }));
        }
    }
    floors
}

/// The highest floor of every key, as disjoint ranges in order; without those that `watermark` has passed.
pub(super) fn highest_floors(floors: &[Floor], watermark: Option<Micros>) -> Vec<Floor> {
    let mut cuts: Vec<u128> = floors
        .iter()
        .flat_map(|floor| [Some(floor.range.start()), floor.range.end().checked_add(1)])
        .flatten()
        .collect();
    cuts.sort_unstable();
    cuts.dedup();
    let mut highest: Vec<Floor> = Vec::new();
    for (index, &start) in cuts.iter().enumerate() {
        // Between two cuts all keys have the same floors. Sound: a later cut is above an earlier one.
        let end = cuts.get(index + 1).map_or(u128::MAX, |next| next - 1);
        let here = floors.iter().filter(|floor| floor.range.contains(start));
        let Some(top) = here.map(|floor| floor.watermark).max() else {
            continue;
        };
        if watermark.is_some_and(|watermark| top <= watermark) {
            continue;
        }
        let joined = highest
            .last()
            .filter(|last| last.watermark == top && last.range.end().checked_add(1) == Some(start))
            .map(|last| last.range.start());
        if joined.is_some() {
            highest.pop();
        }
        let range = HashRange::new(joined.unwrap_or(start), end);
        highest.extend(range.map(|range| Floor {
            range,
            watermark: top,
        }));
    }
    highest
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_key_keeps_its_highest_floor_once(
            floors in proptest::collection::vec((0u128..30, 0u128..30, 0i64..6), 0..8),
            watermark in proptest::option::of(0i64..6),
            high in any::<bool>(),
        ) {
            let shift = if high { u128::MAX - 30 } else { 0 };
            let floors: Vec<Floor> = floors
                .into_iter()
                .map(|(a, b, at)| Floor {
                    range: HashRange::new(shift + a.min(b), shift + a.max(b)).unwrap(),
                    watermark: Micros(at),
                })
                .collect();
            let watermark = watermark.map(Micros);
            let highest = highest_floors(&floors, watermark);
            for key in (0..=30).map(|offset| shift + offset) {
                let of = |list: &[Floor]| -> Vec<Micros> {
                    list.iter().filter(|floor| floor.range.contains(key)).map(|floor| floor.watermark).collect()
                };
                let expected = of(&floors).into_iter().max().filter(|top| watermark.is_none_or(|own| *top > own));
                prop_assert_eq!(of(&highest), Vec::from_iter(expected));
            }
            for pair in highest.windows(2) {
                prop_assert!(pair[0].range.end() < pair[1].range.start());
                let touch = pair[0].range.end() + 1 == pair[1].range.start();
                prop_assert!(!(touch && pair[0].watermark == pair[1].watermark));
            }
        }
    }
}
