//! One shard: an append-only run of records with dense indices, its newest part in memory, older
//! ones in a [`RecordStore`] if there is one.
//!
//! Invariant: an index is handed out and its record becomes readable under the same lock, so a
//! reader that sees index n has seen, or can read, every index below it.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use serde::{Deserialize, Serialize};

use super::waiters::Waiters;
use super::{HashKeyRange, Record, SequenceNumber, StoredRecord};
use crate::store::{RecordStore, StoreError};

/// What a shard is, without its records: this is what a durable log writes down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardMeta {
    /// Unique in the whole log and never used again; the key of its records in the store.
    pub uid: u64,
    /// Number in its stream: 3 is `shardId-000000000003`.
    pub number: u32,
    /// First field of its sequence numbers; above its parents'.
    pub birth: u64,
    /// When it was made: milliseconds since the Unix epoch.
    pub created_millis: u64,
    /// The hash keys it takes.
    pub range: HashKeyRange,
    /// The shard it was split or merged from.
    pub parent: Option<u32>,
    /// The other shard it was merged from.
    pub adjacent_parent: Option<u32>,
    /// Set once it takes no more records.
    pub closed: Option<ShardClosed>,
}

/// The end of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardClosed {
    /// When: milliseconds since the Unix epoch.
    pub at_millis: u64,
    /// Above every record's index; the index of its ending sequence number.
    pub end_index: u64,
}

/// Where a shard's records begin and end, as a durable log finds them at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardTip {
    /// Index of the oldest record that may still be read.
    pub first: u64,
    /// Index that the next record will get.
    pub next: u64,
    /// Arrival of the newest record, or 0.
    pub last_arrival: u64,
}

impl Default for ShardTip {
    fn default() -> Self {
        Self {
            first: FIRST_INDEX,
            next: FIRST_INDEX,
            last_arrival: 0,
        }
    }
}

/// Index 0 is the shard's starting sequence number, which no record has.
const FIRST_INDEX: u64 = 1;

/// What was appended: `count` records from `first_index`, all with one arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Index of the first one; the others follow.
    pub first_index: u64,
    /// Their arrival: milliseconds since the Unix epoch.
    pub arrival_millis: u64,
}

/// Why nothing was appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The shard was split or merged: route the record anew.
    #[error("the shard is closed")]
    Closed,
    /// The store didn't take the records; none is visible.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How much one read may return. At least one record is returned whatever `bytes` says.
#[derive(Debug, Clone, Copy)]
pub struct ReadLimits {
    /// Records at most.
    pub records: usize,
    /// Bytes of keys and data at most.
    pub bytes: usize,
}

/// What a read found.
#[derive(Debug)]
pub struct Read {
    /// The records, in order.
    pub records: Vec<StoredRecord>,
    /// Where the next read goes on.
    pub next_position: u64,
    /// 0 at the tip, else how far the last returned record lies behind `now`.
    pub millis_behind_latest: u64,
    /// The shard is closed and was read to its end: nothing will ever follow.
    pub ended: bool,
}

/// A shard of a stream. All methods take `&self` and may be called from any thread.
#[derive(Debug)]
pub struct Shard {
    /// Identity; `meta.closed` is kept in `state` instead.
    meta: ShardMeta,
    store: Option<Arc<dyn RecordStore>>,
    state: RwLock<State>,
    pub(super) waiters: Waiters,
}

#[derive(Debug)]
struct State {
    closed: Option<ShardClosed>,
    /// Records below are trimmed.
    first: u64,
    next: u64,
    last_arrival: u64,
    /// Arrival of record `first`, when known: spares a search per read.
    oldest_arrival: Option<u64>,
    /// Records `next - tail.len() .. next` with their arrivals.
    tail: VecDeque<(u64, Record)>,
    tail_bytes: usize,
}

impl State {
    fn tail_first(&self) -> u64 {
        self.next - self.tail.len() as u64
    }

    fn pop_oldest_from_tail(&mut self) {
        if let Some((_, record)) = self.tail.pop_front() {
            self.tail_bytes -= record.memory_bytes();
        }
    }

    fn trim_to(&mut self, first: u64) {
        if first <= self.first {
            return;
        }
        self.first = first.min(self.next);
        self.oldest_arrival = None;
        while !self.tail.is_empty() && self.tail_first() < self.first {
            self.pop_oldest_from_tail();
        }
    }
}

impl Shard {
    /// A shard whose records, if any, lie in `store` between `tip.first` and `tip.next`.
    pub fn new(meta: ShardMeta, tip: ShardTip, store: Option<Arc<dyn RecordStore>>) -> Self {
        let state = State {
            closed: meta.closed,
            first: tip.first,
            next: tip.next,
            // No record arrives before its shard was made.
            last_arrival: tip.last_arrival.max(meta.created_millis),
            oldest_arrival: None,
            tail: VecDeque::new(),
            tail_bytes: 0,
        };
        Self {
            meta,
            store,
            state: RwLock::new(state),
            waiters: Waiters::default(),
        }
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        // Every change to the state is complete before anything that could panic.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the shard is now.
    pub fn meta(&self) -> ShardMeta {
        ShardMeta {
            closed: self.state().closed,
            ..self.meta.clone()
        }
    }

    /// Unique in the log.
    pub fn uid(&self) -> u64 {
        self.meta.uid
    }

    /// Number in its stream.
    pub fn number(&self) -> u32 {
        self.meta.number
    }

    /// The hash keys it takes.
    pub fn range(&self) -> HashKeyRange {
        self.meta.range
    }

    /// The sequence number of `index` in this shard.
    pub fn sequence_number(&self, index: u64) -> SequenceNumber {
        SequenceNumber {
            birth: self.meta.birth,
            index,
            shard: self.meta.number,
        }
    }

    /// The index of `sequence`, if this shard has handed it out or is its start or end.
    pub fn index_of(&self, sequence: SequenceNumber) -> Option<u64> {
        let state = self.state();
        let end = state
            .closed
            .map_or(state.next, |closed| closed.end_index + 1);
        let ours = sequence.birth == self.meta.birth && sequence.shard == self.meta.number;
        // A starting sequence number is valid before the first record.
        (ours && (sequence.index == 0 || sequence.index < end)).then_some(sequence.index)
    }

    /// Appends `records` in order, all of them or none, visible to every reader when this returns.
    ///
    /// Arrival is `now_millis`, or the newest record's arrival when the clock was set back. With a
    /// store about `tail_budget` bytes of the newest records are kept in memory too; without one
    /// everything is.
    ///
    /// # Errors
    /// The shard is closed, or the store failed; then nothing was appended.
    pub fn append(
        &self,
        now_millis: u64,
        records: Vec<Record>,
        tail_budget: usize,
    ) -> Result<Appended, AppendError> {
        let mut state = self.state_mut();
        if state.closed.is_some() {
            return Err(AppendError::Closed);
        }
        let arrival_millis = now_millis.max(state.last_arrival);
        let first_index = state.next;
        if let Some(store) = &self.store {
            store.append(self.meta.uid, first_index, arrival_millis, &records)?;
        }
        state.next += records.len() as u64;
        state.last_arrival = arrival_millis;
        for record in records {
            state.tail_bytes += record.memory_bytes();
            state.tail.push_back((arrival_millis, record));
        }
        if self.store.is_some() {
            while state.tail_bytes > tail_budget {
                state.pop_oldest_from_tail();
            }
        }
        drop(state);
        self.waiters.wake();
        Ok(Appended {
            first_index,
            arrival_millis,
        })
    }

    /// Reads from `position`, or from the trim horizon when that lies after it.
    ///
    /// # Errors
    /// The store can't be read.
    pub fn read(
        &self,
        position: u64,
        limits: ReadLimits,
        now_millis: u64,
    ) -> Result<Read, StoreError> {
        let mut batch = Batch::new(limits);
        let mut position = position;
        loop {
            let (from, tail_first) = {
                let state = self.state();
                // After a power failure an iterator may lie above what was kept.
                let from = position.max(state.first).min(state.next);
                if from >= state.tail_first() || batch.full {
                    return Ok(self.finish_from_tail(&state, batch, from, now_millis));
                }
                (from, state.tail_first())
            };
            position = self.read_from_store(&mut batch, from, tail_first)?;
        }
    }

    /// Reads `from..end` from the store until the batch is full; returns where to go on.
    fn read_from_store(&self, batch: &mut Batch, from: u64, end: u64) -> Result<u64, StoreError> {
        let Some(store) = &self.store else {
            return Ok(end);
        };
        let found = store.read(self.meta.uid, from..end, batch.left())?;
        let mut next = from;
        for (index, arrival_millis, record) in found.records {
            if !batch.push(self.sequence_number(index), arrival_millis, record) {
                return Ok(index);
            }
            next = index + 1;
        }
        if found.complete {
            return Ok(end);
        }
        batch.full = true;
        Ok(next)
    }

    fn finish_from_tail(
        &self,
        state: &State,
        mut batch: Batch,
        from: u64,
        now_millis: u64,
    ) -> Read {
        let mut next_position = from;
        if !batch.full {
            let offset = usize::try_from(from - state.tail_first()).unwrap_or(usize::MAX);
            for (arrival_millis, record) in state.tail.range(offset.min(state.tail.len())..) {
                if !batch.push(
                    self.sequence_number(next_position),
                    *arrival_millis,
                    record.clone(),
                ) {
                    break;
                }
                next_position += 1;
            }
        }
        let at_tip = next_position >= state.next;
        let millis_behind_latest = match batch.records.last() {
            _ if at_tip => 0,
            // Not 0 before the tip: 0 says that there is nothing more to read.
            Some(last) => now_millis.saturating_sub(last.arrival_millis).max(1),
            None => 1,
        };
        Read {
            records: batch.records,
            next_position,
            millis_behind_latest,
            ended: at_tip && state.closed.is_some(),
        }
    }

    /// The oldest position that can be read.
    pub fn trim_horizon(&self) -> u64 {
        self.state().first
    }

    /// The position after the newest record.
    pub fn latest(&self) -> u64 {
        self.state().next
    }

    /// Arrival of the newest record ever, or 0. "Now" is never before it for this shard.
    pub fn last_arrival(&self) -> u64 {
        self.state().last_arrival
    }

    /// The position of the first record that arrived at `millis` or later; the tip when none did.
    /// A binary search, whatever the number of records.
    ///
    /// # Errors
    /// The store can't be read.
    pub fn position_at(&self, millis: u64) -> Result<u64, StoreError> {
        let (mut low, mut high) = {
            let state = self.state();
            let reaches_below_tail = state
                .tail
                .front()
                .is_none_or(|(arrival, _)| *arrival >= millis);
            if self.store.is_none() || !reaches_below_tail || state.tail_first() <= state.first {
                let offset = state.tail.partition_point(|(arrival, _)| *arrival < millis);
                return Ok(state.tail_first() + offset as u64);
            }
            (state.first, state.tail_first())
        };
        let Some(store) = &self.store else {
            return Ok(low);
        };
        while low < high {
            let middle = low + (high - low) / 2;
            match store.arrival_at_or_before(self.meta.uid, middle)? {
                Some(arrival) if arrival >= millis => high = middle,
                _ => low = middle + 1,
            }
        }
        // All below the tail as it was are older; those then in the tail arrived at `millis` or later.
        Ok(low)
    }

    /// Gives up the records that arrived before `cutoff_millis`.
    ///
    /// # Errors
    /// The store can't be read.
    pub fn trim_before(&self, cutoff_millis: u64) -> Result<(), StoreError> {
        {
            let state = self.state();
            let known_young = state
                .oldest_arrival
                .is_some_and(|oldest| oldest >= cutoff_millis);
            if known_young || state.first >= state.next {
                return Ok(());
            }
        }
        let first = self.position_at(cutoff_millis)?;
        let oldest = match &self.store {
            Some(store) if first < self.latest() => {
                store.arrival_at_or_before(self.meta.uid, first)?
            }
            _ => None,
        };
        let mut state = self.state_mut();
        state.trim_to(first);
        if state.first == first {
            state.oldest_arrival = state
                .tail
                .front()
                .filter(|_| self.store.is_none())
                .map(|(arrival, _)| *arrival);
            state.oldest_arrival = state.oldest_arrival.or(oldest);
        }
        Ok(())
    }

    /// Gives up the records below `first`.
    pub fn trim_to(&self, first: u64) {
        self.state_mut().trim_to(first);
    }

    /// Arrival of the oldest record in memory and the bytes held there.
    pub fn memory(&self) -> (Option<u64>, usize) {
        let state = self.state();
        (
            state.tail.front().map(|(arrival, _)| *arrival),
            state.tail_bytes,
        )
    }

    /// Gives up about `bytes` of the oldest records in memory, for a log without a store.
    pub fn trim_bytes(&self, bytes: usize) {
        let mut state = self.state_mut();
        let target = state.tail_bytes.saturating_sub(bytes);
        while state.tail_bytes > target {
            let first = state.first + 1;
            state.trim_to(first);
        }
    }

    /// The end the shard would get if it were closed at `now_millis`. The caller keeps appends out
    /// until [`Shard::close`].
    pub fn closing(&self, now_millis: u64) -> ShardClosed {
        let state = self.state();
        ShardClosed {
            at_millis: now_millis.max(state.last_arrival),
            end_index: state.next,
        }
    }

    /// Ends the shard: it takes no more records.
    pub fn close(&self, closed: ShardClosed) {
        self.state_mut().closed = Some(closed);
        self.wake();
    }

    /// Wakes all who wait for the shard: something about it, or about its stream, has changed.
    pub fn wake(&self) {
        self.waiters.wake();
    }
}

/// Records gathered by one read, within its limits.
struct Batch {
    records: Vec<StoredRecord>,
    limits: ReadLimits,
    bytes: usize,
    full: bool,
}

impl Batch {
    fn new(limits: ReadLimits) -> Self {
        Self {
            records: Vec::new(),
            limits,
            bytes: 0,
            full: limits.records == 0,
        }
    }

    /// What may still be added; `bytes` may be 0 when records were found already.
    fn left(&self) -> ReadLimits {
        ReadLimits {
            records: self.limits.records - self.records.len(),
            bytes: self.limits.bytes.saturating_sub(self.bytes),
        }
    }

    /// Adds the record, or says that it doesn't fit.
    fn push(
        &mut self,
        sequence_number: SequenceNumber,
        arrival_millis: u64,
        record: Record,
    ) -> bool {
        let bytes = self.bytes + record.payload_bytes();
        if self.records.len() >= self.limits.records
            || (!self.records.is_empty() && bytes > self.limits.bytes)
        {
            self.full = true;
            return false;
        }
        self.bytes = bytes;
        self.records.push(StoredRecord {
            sequence_number,
            arrival_millis,
            record,
        });
        true
    }
}
