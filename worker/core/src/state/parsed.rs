//! Records that were parsed ahead, and the short way into their windows.
//!
//! Owns that way: what it may skip, because it can't differ within a block, or is only looked at when the block's share is
//! done. Must never decide otherwise than [`Fold::apply`] would: whatever isn't simply counted goes there.

use std::collections::VecDeque;

use super::*;
use crate::tick::Tickers;

/// Records of a file that were parsed ahead, and how far they have been applied. Their sequence numbers follow one another.
#[derive(Debug, Default)]
pub struct ParsedRecords {
    block: TickBlock,
    first: u64,
    arrival: Option<Micros>,
    next: usize,
    /// Where the block's tickers stand in the table, as far as that is known; empty before it is asked for.
    tickers: Vec<u32>,
}

/// No ticker's place.
const UNKNOWN: u32 = u32::MAX;

/// Ticks that are counted together: what they look at stays in the processor's nearest cache from the first figure to the last.
const TOGETHER: usize = 256;

impl ParsedRecords {
    /// The records of `block`, from the one at `next` on. The sequence number of the block's first is `first`; they have
    /// arrived at `arrival`.
    pub fn new(block: TickBlock, first: u64, arrival: Micros, next: usize) -> Self {
        ParsedRecords {
            tickers: Vec::new(),
            block,
            first,
            arrival: Some(arrival),
            next,
        }
    }

    /// True when all have been applied.
    pub fn is_done(&self) -> bool {
        self.next >= self.block.len()
    }

    /// How many haven't been applied.
    pub fn left(&self) -> usize {
        self.block.len().saturating_sub(self.next)
    }

    fn sequence(&self, index: usize) -> u64 {
        self.first.saturating_add(index as u64)
    }

    fn meta(&self, index: usize) -> RecordMeta {
        RecordMeta {
            sequence: SequenceNumber::from(self.sequence(index)),
            arrival: self.arrival.unwrap_or(Micros(0)),
        }
    }
}

impl ShardState {
    /// As [`ShardState::apply`] of each, of records that were parsed ahead by a parser as [`ShardState::parser`] gives it;
    /// at most so many. Stops early when windows have closed, and after a record that wasn't simply counted: its fate is
    /// the answer. Such records are never aggregated: only bounded files are parsed ahead.
    pub fn apply_parsed(
        &mut self,
        records: &mut ParsedRecords,
        most: usize,
        now: Monotonic,
    ) -> Option<Applied> {
        let until = records.block.len().min(records.next.saturating_add(most));
        let begun = records.next;
        let closed = self.fold.count_run(records, until, now);
        if records.next > begun {
            self.fold.finish_record(&records.meta(records.next - 1));
        }
        if closed || records.next >= until {
            return None;
        }
        let (index, meta) = (records.next, records.meta(records.next));
        records.next += 1;
        let (place, block) = (Place::of(&meta), &records.block);
        let applied = match self.parser.take_parsed(block, index) {
            Some(tick) => {
                let numbers = self.parser.packed_numbers();
                self.fold
                    .apply(place, &tick, numbers, || block.data(index), now)
            }
            None => self.apply_tick(place, &block.data(index), now),
        };
        self.fold.finish_record(&meta);
        Some(applied)
    }
}

/// Where tickers of blocks that were counted stand in the table.
#[derive(Debug, Default)]
pub(super) struct KnownTickers(VecDeque<(Arc<Tickers>, Vec<u32>)>);

/// Lists of tickers that are kept: one for each thread that parses, and some that are about to be replaced.
const MOST_LISTS: usize = 8;

impl KnownTickers {
    /// What was put, if these tickers are known, or nothing of each.
    fn take(&mut self, tickers: &Arc<Tickers>) -> Vec<u32> {
        let found = self.0.iter().position(|(own, _)| Arc::ptr_eq(own, tickers));
        match found.and_then(|index| self.0.remove(index)) {
            Some((_, places)) => places,
            None => vec![UNKNOWN; tickers.len()],
        }
    }

    fn put(&mut self, tickers: &Arc<Tickers>, places: Vec<u32>) {
        self.0.truncate(MOST_LISTS - 1);
        self.0.push_front((tickers.clone(), places));
    }
}

impl Fold {
    /// Counts records as long as there is nothing else to do with them; whether windows have closed.
    fn count_run(&mut self, records: &mut ParsedRecords, until: usize, now: Monotonic) -> bool {
        // With floors, what is closed depends on the ticker.
        if !self.watermark.floors().is_empty() {
            return false;
        }
        if records.tickers.is_empty() {
            records.tickers = self.known.take(records.block.names());
        }
        let begun = records.next;
        let mut end = Run::Goes;
        while end == Run::Goes && records.next < until {
            end = self.count_together(records, until.min(records.next + TOGETHER));
        }
        if records.next > begun {
            self.counters.ticks += (records.next - begun) as u64;
            self.watermark.restart_idle(now);
        }
        if records.is_done() {
            let tickers = std::mem::take(&mut records.tickers);
            self.known.put(records.block.names(), tickers);
        }
        end == Run::Closes
    }

    /// Counts a part of a run: first finds out what each tick's fate is and where it is counted, then counts them all. Nothing
    /// that is found out of a tick depends on what those before were counted as.
    fn count_together(&mut self, records: &mut ParsedRecords, until: usize) -> Run {
        let arrival = records.arrival.unwrap_or(Micros(0));
        let (latest, at_most) = match self.plan.max_ahead {
            MaxAhead::Unbounded => (Micros(i64::MAX), Micros(i64::MAX)),
            MaxAhead::Micros(allowed) => (arrival.plus(allowed), arrival),
        };
        let delay = self.plan.watermark_delay;
        let first = records.sequence(records.next);
        let ticks = records.block.run(records.next, until);
        let mut watermark = self.watermark.own();
        self.run.clear();
        let mut end = Run::Goes;
        for (tick, sequence) in ticks.iter().zip(first..) {
            let window_end = self.table.window_end(tick.event_time);
            let is_late = watermark.is_some_and(|own| window_end <= own);
            if is_late || tick.event_time > latest || !self.table.is_usable(tick.numbers) {
                end = Run::Ends;
                break;
            }
            let Some(known) = records.tickers.get_mut(tick.ticker) else {
                end = Run::Ends;
                break;
            };
            if *known == UNKNOWN {
                let name = records.block.ticker(tick.ticker);
                let Some(index) = name.and_then(|name| self.table.index_of(name)) else {
                    end = Run::Ends; // it becomes known the long way
                    break;
                };
                *known = index;
            }
            let counting = self
                .table
                .place_in_run(sequence, tick.event_time, *known, window_end);
            let Some(counting) = counting else {
                end = Run::Ends;
                break;
            };
            self.run.push(counting);
            let seen = tick.event_time.min(at_most).minus(delay);
            if watermark.is_none_or(|own| seen > own) {
                watermark = Some(seen);
                if !self.table.is_open_after(seen) {
                    end = Run::Closes;
                    break;
                }
            }
        }
        self.table.count_run(&self.run, first, &ticks);
        // A record that is to be parsed in its turn stands there, if all others were counted.
        if end == Run::Goes && self.run.len() < until - records.next {
            end = Run::Ends;
        }
        records.next += self.run.len();
        if let Some(own) = watermark.filter(|_| !self.run.is_empty()) {
            self.watermark.raise(own);
        }
        if end == Run::Closes
            && let Some(own) = self.watermark.own()
        {
            self.close_windows(own);
        }
        end
    }
}

/// How a part of a run came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Run {
    /// The next record belongs to it.
    Goes,
    /// The next record is to be looked at by itself.
    Ends,
    /// Windows have closed.
    Closes,
}

#[cfg(test)]
#[path = "parsed_tests.rs"]
mod tests;
