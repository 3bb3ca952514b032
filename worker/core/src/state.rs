//! A shard's state in memory: ticks go in, closed windows and rejects come out.
//!
//! Owns the fate of a tick: counted, late, duplicate or dead. Must never depend on how records were batched: every
//! decision is taken tick by tick, from the state and the tick alone.

#[cfg(test)]
mod aggregated_tests;
mod fate;
mod parsed;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::aggregated::{self, Content, MAX_SUB_RECORDS, SubRecord};
use crate::checkpoint::{Checkpoint, Counters, Latest, Pending};
use crate::checkpoint::{dead_bytes, late_bytes, pending_bytes};
use crate::generation::{self, AggregateConflict};
use crate::hash::HashRange;
use crate::plan::{Aggregate, MaxAhead, Plan};
use crate::row::{Column, DeadLetter, DeadReason, LateTick, Row};
use crate::sequence::{Position, SequenceNumber};
use crate::tick::{Tick, TickBlock, TickParser, Unusable};
use crate::time::{Micros, Monotonic};
use crate::watermark::Watermark;
use crate::window::{Counting, Known, TickerView, WindowTable, number_keys};
use fate::Place;
pub use fate::{Applied, Fates, RecordMeta};
use parsed::KnownTickers;
pub use parsed::ParsedRecords;

/// A shard's state.
#[derive(Debug)]
pub struct ShardState {
    parser: TickParser,
    fold: Fold,
}

/// Everything but the parser, whose buffer holds the numbers of the tick at hand.
#[derive(Debug)]
struct Fold {
    plan: Arc<Plan>,
    range: HashRange,
    position: Position,
    read_through: Option<Micros>,
    watermark: Watermark,
    table: WindowTable,
    /// Ticks that are being counted together.
    run: Vec<Counting>,
    known: KnownTickers,
    unsealed: Pending,
    unsealed_bytes: usize,
    counters: Counters,
    file_marks: Vec<u64>,
    /// Changed since the last snapshot.
    dirty: bool,
    /// The last record applied.
    #[cfg(feature = "mutants")]
    last: Option<SequenceNumber>,
}

/// The fate of a well-formed tick.
enum Verdict {
    Count,
    Late(Micros),
    Duplicate,
    Unusable(Unusable),
}

impl ShardState {
    /// Goes on from a checkpoint, taken at `now`.
    ///
    /// # Errors
    /// [`AggregateConflict`] when an output name means something else in the plan than in the chain.
    pub fn restore(
        plan: Arc<Plan>,
        checkpoint: &Checkpoint,
        now: Monotonic,
    ) -> Result<Self, AggregateConflict> {
        let newest_end = checkpoint
            .windows
            .iter()
            .map(|window| window.start.plus(plan.window_size))
            .max();
        let generations =
            generation::with_added(&checkpoint.generations, &plan.aggregates, newest_end)?;
        Ok(ShardState {
            parser: TickParser::new(&plan.record, &number_keys(&plan, &generations)),
            fold: Fold {
                range: checkpoint.range,
                position: checkpoint.position.clone(),
                read_through: checkpoint.read_through,
                watermark: Watermark::restore(checkpoint.watermark, checkpoint.floors.clone(), now),
                table: WindowTable::restore(plan.clone(), generations, checkpoint),
                run: Vec::new(),
                known: KnownTickers::default(),
                unsealed_bytes: pending_bytes(&checkpoint.unsealed),
                unsealed: checkpoint.unsealed.clone(),
                counters: checkpoint.counters.clone(),
                file_marks: checkpoint.file_marks.clone(),
                dirty: true,
                #[cfg(feature = "mutants")]
                last: None,
                plan,
            },
        })
    }

    /// Applies a record, and moves the position after it. `now` is when it was received. All ticks of an aggregated
    /// record are applied, so that no version of the chain can stand between them.
    pub fn apply(&mut self, meta: &RecordMeta, data: &Bytes, now: Monotonic) -> Applied {
        // Files have no shards that a sub-record could belong to.
        let content = match self.fold.plan.keyed_by_ticker {
            true => aggregated::content(data),
            false => Content::Plain,
        };
        let applied = match content {
            Content::Plain => self.apply_tick(Place::of(meta), data, now),
            Content::Aggregated(records) => {
                Applied::Aggregated(self.apply_sub_records(meta, &records, now))
            }
            Content::TooMany { found } => {
                let detail = format!(
                    "an aggregated record with {found} sub-records, allowed are {MAX_SUB_RECORDS}"
                );
                let reason = DeadReason::TooLarge;
                let unusable = Unusable { reason, detail };
                self.fold.reject_dead(Place::of(meta), unusable, data)
            }
        };
        self.fold.finish_record(meta);
        applied
    }

    /// A parser of this state's ticks.
    pub fn parser(&self) -> TickParser {
        self.parser.anew()
    }

    fn apply_sub_records(
        &mut self,
        meta: &RecordMeta,
        records: &[SubRecord],
        now: Monotonic,
    ) -> Fates {
        let mut fates = Fates::default();
        for (index, record) in (0..).zip(records) {
            // Before anything else is asked of it: its producer sees where it went, and sends it again.
            if !self.fold.range.contains(record.hash_key) {
                fates.misrouted += 1;
                continue;
            }
            let sub_sequence = Some(index);
            let place = Place { meta, sub_sequence };
            fates.note(&self.apply_tick(place, &record.data, now));
        }
        self.fold.counters.misrouted += fates.misrouted;
        fates
    }

    fn apply_tick(&mut self, place: Place<'_>, data: &Bytes, now: Monotonic) -> Applied {
        match self.parser.parse(data) {
            Ok(tick) => self.fold.apply(
                place,
                &tick,
                self.parser.packed_numbers(),
                || data.clone(),
                now,
            ),
            Err(unusable) => self.fold.reject_dead(place, unusable, data),
        }
    }

    /// Takes note of an empty reply at the shard's tip (`MillisBehindLatest` = 0) to a request sent at `sent`: after
    /// `idleTimeout` without a tick the watermark is the base plus the time passed. `wall` is the sending time by the
    /// clock, for `read_through` only.
    pub fn observe_empty_tip(&mut self, sent: Monotonic, wall: Micros) {
        self.fold.note_read_through(wall);
        let target = self
            .fold
            .plan
            .idle_timeout
            .and_then(|timeout| self.fold.watermark.idle_target(sent, timeout));
        if let Some(target) = target {
            self.fold.raise_watermark(target);
        }
    }

    /// Closes every open window: bounded input has come to its end.
    pub fn close_all_windows(&mut self) {
        if let Some(end) = self.fold.table.newest_end() {
            self.fold.raise_watermark(end);
        }
    }

    /// Marks the shard as read to its end.
    pub fn end(&mut self, position: Position) {
        self.fold.position = position;
        self.fold.dirty = true;
    }
}

impl Fold {
    /// Moves the position after a record whose ticks have all been applied.
    fn finish_record(&mut self, meta: &RecordMeta) {
        self.position = Position::After(meta.sequence.clone());
        #[cfg(feature = "mutants")]
        if crate::mutants::broken(crate::mutants::Mutant::ResumeAt) {
            let before = self.last.replace(meta.sequence.clone());
            self.position = before.map_or(Position::TrimHorizon, Position::After);
        }
        // Also when it lies before what was noted at the start: catching up, this is how far reading has come.
        self.read_through = Some(meta.arrival);
        self.dirty = true;
    }

    fn apply(
        &mut self,
        place: Place<'_>,
        tick: &Tick<'_>,
        numbers: &[f64],
        data: impl FnOnce() -> Bytes,
        now: Monotonic,
    ) -> Applied {
        let meta = place.meta;
        let known = self.table.look_up(&tick.ticker);
        let end = self.table.window_end(tick.event_time);
        let applied = match self.judge(meta, tick, known, end, numbers) {
            Verdict::Unusable(unusable) => return self.reject_dead(place, unusable, &data()),
            Verdict::Late(watermark) => {
                self.table.note_late(known);
                self.reject_late(place, tick, watermark, &data());
                Applied::Late
            }
            Verdict::Duplicate => {
                self.counters.duplicates += 1;
                Applied::Duplicate
            }
            Verdict::Count => {
                self.table.count(&meta.sequence, tick, known, end, numbers);
                self.counters.ticks += 1;
                let seen = match self.plan.max_ahead {
                    MaxAhead::Unbounded => tick.event_time,
                    MaxAhead::Micros(_) => tick.event_time.min(meta.arrival),
                };
                self.raise_watermark(seen.minus(self.plan.watermark_delay));
                Applied::Counted
            }
        };
        self.watermark.restart_idle(now);
        applied
    }

    fn judge(
        &self,
        meta: &RecordMeta,
        tick: &Tick<'_>,
        known: Known,
        end: Micros,
        numbers: &[f64],
    ) -> Verdict {
        if let Some(unusable) = self.contract_broken(meta, tick, known, numbers) {
            return Verdict::Unusable(unusable);
        }
        match self.watermark.closed_through(known.hash) {
            Some(bound) if end <= bound => return Verdict::Late(bound),
            _ => {}
        }
        if self.table.is_duplicate(tick, known) {
            return Verdict::Duplicate;
        }
        match self.table.bound_broken(tick, known, end) {
            Some(unusable) => Verdict::Unusable(unusable),
            None => Verdict::Count,
        }
    }

    /// What makes a well-formed tick unusable, whatever the state of its window.
    fn contract_broken(
        &self,
        meta: &RecordMeta,
        tick: &Tick<'_>,
        known: Known,
        numbers: &[f64],
    ) -> Option<Unusable> {
        let dead = |reason, detail| Some(Unusable { reason, detail });
        if !self.table.is_usable(numbers) {
            let detail = "none of the aggregates' fields is there".to_owned();
            return dead(DeadReason::MissingField, detail);
        }
        // Known tickers have been checked when they became known.
        if self.plan.keyed_by_ticker && !known.is_known() && !self.range.contains(known.hash) {
            let detail = format!(
                "ticker {:?} hashes to {}, outside this shard's keys {}: \
                 the producer's partition key must be the ticker",
                tick.ticker, known.hash, self.range
            );
            return dead(DeadReason::WrongShard, detail);
        }
        if let MaxAhead::Micros(allowed) = self.plan.max_ahead {
            let ahead = tick.event_time.0.saturating_sub(meta.arrival.0);
            if ahead > allowed {
                let detail = format!(
                    "the event time {} is {} ms ahead of the arrival {}, allowed are {} ms",
                    tick.event_time,
                    ahead / 1_000,
                    meta.arrival,
                    allowed / 1_000
                );
                return dead(DeadReason::AheadOfTime, detail);
            }
        }
        None
    }

    fn raise_watermark(&mut self, to: Micros) {
        if self.watermark.raise(to) {
            self.close_windows(to);
        }
    }

    /// Closes the windows that end at or before `to`.
    fn close_windows(&mut self, to: Micros) {
        let rows = &mut self.unsealed.rows;
        let (before, bytes) = (rows.len(), rows.bytes());
        self.table.close_through(to, rows);
        if rows.len() == before {
            return;
        }
        self.dirty = true;
        self.counters.rows_closed += (rows.len() - before) as u64;
        self.unsealed_bytes += rows.bytes() - bytes;
    }

    fn reject_late(&mut self, place: Place<'_>, tick: &Tick<'_>, watermark: Micros, data: &Bytes) {
        let late = LateTick {
            ticker: tick.ticker.as_ref().into(),
            trade_date: tick.trade_date.unwrap_or_else(|| tick.event_time.date()),
            event_time: tick.event_time,
            arrival: place.meta.arrival,
            watermark,
            sequence: place.meta.sequence.clone(),
            sub_sequence: place.sub_sequence,
            data: place.kept(data),
        };
        self.counters.late += 1;
        self.unsealed_bytes += late_bytes(&late);
        self.unsealed.late.push(late);
    }

    fn reject_dead(&mut self, place: Place<'_>, unusable: Unusable, data: &Bytes) -> Applied {
        let reason = unusable.reason;
        let dead = DeadLetter {
            reason,
            detail: unusable.detail,
            arrival: place.meta.arrival,
            sequence: place.meta.sequence.clone(),
            sub_sequence: place.sub_sequence,
            data: place.kept(data),
        };
        *self.counters.dead.entry(reason).or_default() += 1;
        self.unsealed_bytes += dead_bytes(&dead);
        self.unsealed.dead.push(dead);
        Applied::Dead(reason)
    }

    fn note_read_through(&mut self, through: Micros) {
        self.read_through = Some(match self.read_through {
            Some(before) => before.max(through),
            None => through,
        });
    }
}

/// Reading the state, and handing over what has closed.
impl ShardState {
    /// Copies the state into `checkpoint`, but for what the chain owns (version, epoch, owner, outbox, …).
    pub fn write_to(&self, checkpoint: &mut Checkpoint) {
        let fold = &self.fold;
        checkpoint.position = fold.position.clone();
        checkpoint.read_through = fold.read_through;
        checkpoint.watermark = fold.watermark.own();
        checkpoint.floors = fold.watermark.floors().to_vec();
        checkpoint.windows = fold.table.open_windows();
        checkpoint.generations = generation::without_past(
            fold.table.generations(),
            checkpoint.windows.first().map(|window| window.start),
            fold.watermark.own(),
        );
        checkpoint.latest = fold.table.latest();
        checkpoint.unsealed = fold.unsealed.clone();
        checkpoint.counters = fold.counters.clone();
        checkpoint.file_marks.clone_from(&fold.file_marks);
    }

    /// Takes everything that waits to be sealed.
    pub fn take_unsealed(&mut self) -> Pending {
        self.fold.unsealed_bytes = 0;
        self.fold.dirty = true;
        std::mem::take(&mut self.fold.unsealed)
    }

    /// What waits to be sealed.
    pub fn unsealed(&self) -> &Pending {
        &self.fold.unsealed
    }

    /// Its rough size in bytes.
    pub fn unsealed_bytes(&self) -> usize {
        self.fold.unsealed_bytes
    }

    /// The figures that new windows compute.
    pub fn aggregates(&self) -> &[Aggregate] {
        generation::newest(self.fold.table.generations())
    }

    /// The columns of rows that close now.
    pub fn columns(&self) -> Vec<Column> {
        self.aggregates().iter().map(Aggregate::column).collect()
    }

    /// Every known ticker with its latest close, by ticker.
    pub fn latest(&self) -> Vec<Latest> {
        self.fold.table.latest()
    }

    /// What is shown of each ticker, in no particular order.
    pub fn tickers(&self) -> impl ExactSizeIterator<Item = TickerView<'_>> {
        self.fold.table.tickers()
    }

    /// The newest open window of each ticker, as the row that it would be if it closed now.
    pub fn provisional(&self) -> BTreeMap<Arc<str>, Row> {
        self.fold.table.provisional()
    }

    /// Where reading goes on.
    pub fn position(&self) -> &Position {
        &self.fold.position
    }

    /// Every record that arrived before this has been read.
    pub fn read_through(&self) -> Option<Micros> {
        self.fold.read_through
    }

    /// The watermark.
    pub fn watermark(&self) -> Option<Micros> {
        self.fold.watermark.own()
    }

    /// How many windows are open.
    pub fn open_windows(&self) -> usize {
        self.fold.table.open()
    }

    /// Totals.
    pub fn counters(&self) -> &Counters {
        &self.fold.counters
    }

    /// Totals, to be changed by the chain's owner (rows published, losses).
    pub fn counters_mut(&mut self) -> &mut Counters {
        self.fold.dirty = true;
        &mut self.fold.counters
    }

    /// File sources: where each file goes on.
    pub fn file_marks(&self) -> &[u64] {
        &self.fold.file_marks
    }

    /// File sources: notes where each file goes on.
    pub fn set_file_marks(&mut self, marks: &[u64]) {
        self.fold.file_marks.clear();
        self.fold.file_marks.extend_from_slice(marks);
    }

    /// True when something changed since [`ShardState::mark_clean`].
    pub fn is_dirty(&self) -> bool {
        self.fold.dirty
    }

    /// Says that what the chain keeps beside the state has changed.
    pub fn touch(&mut self) {
        self.fold.dirty = true;
    }

    /// Says that a snapshot holds everything.
    pub fn mark_clean(&mut self) {
        self.fold.dirty = false;
    }

    /// The last record applied, if any.
    pub fn last_sequence(&self) -> Option<&SequenceNumber> {
        match &self.fold.position {
            Position::After(sequence) => Some(sequence),
            _ => None,
        }
    }
}
