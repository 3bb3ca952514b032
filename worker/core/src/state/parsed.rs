//! Records that were parsed ahead, and the short way into their windows.
//!
//! Owns that way: what it may skip, because it can't differ within a block, or is only looked at when the block's share is
//! done. Must never decide otherwise than [`Fold::apply`] would: whatever isn't simply counted goes there.

use super::*;

/// Records of a file that were parsed ahead, and how far they have been applied. Their sequence numbers follow one another.
#[derive(Debug, Default)]
pub struct ParsedRecords {
    block: TickBlock,
    first: u64,
    arrival: Option<Micros>,
    next: usize,
    /// Where the block's tickers stand in the table, as far as that is known.
    tickers: Vec<Option<u32>>,
}

impl ParsedRecords {
    /// The records of `block`, from the one at `next` on. The sequence number of the block's first is `first`; they have
    /// arrived at `arrival`.
    pub fn new(block: TickBlock, first: u64, arrival: Micros, next: usize) -> Self {
        ParsedRecords {
            tickers: vec![None; block.tickers()],
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

impl Fold {
    /// Counts records as long as there is nothing else to do with them; whether windows have closed.
    fn count_run(&mut self, records: &mut ParsedRecords, until: usize, now: Monotonic) -> bool {
        // With floors, what is closed depends on the ticker.
        if !self.watermark.floors().is_empty() {
            return false;
        }
        let arrival = records.meta(0).arrival;
        let (latest, at_most) = match self.plan.max_ahead {
            MaxAhead::Unbounded => (Micros(i64::MAX), Micros(i64::MAX)),
            MaxAhead::Micros(allowed) => (arrival.plus(allowed), arrival),
        };
        let delay = self.plan.watermark_delay;
        let (first, mut next, mut closed) = (records.first, records.next, false);
        for tick in records.block.run(next, until) {
            let end = self.table.window_end(tick.event_time);
            let is_late = self.watermark.own().is_some_and(|own| end <= own);
            if is_late || tick.event_time > latest || !self.table.is_usable(tick.numbers) {
                break;
            }
            let Some(known) = records.tickers.get_mut(tick.ticker) else {
                break;
            };
            if known.is_none() {
                let name = records.block.ticker(tick.ticker);
                *known = name.and_then(|name| self.table.index_of(name));
            }
            let Some(index) = *known else {
                break; // it becomes known the long way
            };
            let sequence = first.saturating_add(next as u64);
            if !self.table.count_parsed(sequence, &tick, index, end) {
                break;
            }
            next += 1;
            let seen = tick.event_time.min(at_most).minus(delay);
            if self.watermark.raise(seen) && !self.table.is_open_after(seen) {
                self.close_windows(seen);
                closed = true;
                break;
            }
        }
        if next > records.next {
            self.counters.ticks += (next - records.next) as u64;
            self.watermark.restart_idle(now);
        }
        records.next = next;
        closed
    }
}

#[cfg(test)]
#[path = "parsed_tests.rs"]
mod tests;
