//! A record's place in its shard, and what became of it.
//!
//! Owns these words only. Must never decide.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::row::DeadReason;
use crate::sequence::SequenceNumber;
use crate::time::Micros;

/// What a record is, beside its bytes.
#[derive(Clone, Debug)]
pub struct RecordMeta {
    /// Its place in the shard.
    pub sequence: SequenceNumber,
    /// When the stream received it (`ApproximateArrivalTimestamp`; a file's last change).
    pub arrival: Micros,
}

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It is in its window.
    Counted,
    /// Its window was closed.
    Late,
    /// Its id had been seen.
    Duplicate,
    /// It can't be used.
    Dead(DeadReason),
    /// It held many.
    Aggregated(Fates),
}

/// What became of an aggregated record's sub-records, but for those that are in their windows or were duplicates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fates {
    /// Late ones.
    pub late: u64,
    /// Those that can't be used.
    pub dead: BTreeMap<DeadReason, u64>,
    /// Those of another shard's keys.
    pub misrouted: u64,
}

impl Fates {
    pub(super) fn note(&mut self, applied: &Applied) {
        match applied {
            Applied::Late => self.late += 1,
            Applied::Dead(reason) => *self.dead.entry(*reason).or_default() += 1,
            Applied::Counted | Applied::Duplicate | Applied::Aggregated(_) => {}
        }
    }
}

/// A tick's place: its record, and which of the record's ticks it is.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) meta: &'a RecordMeta,
    pub(super) sub_sequence: Option<u32>,
}

impl<'a> Place<'a> {
    pub(super) fn of(meta: &'a RecordMeta) -> Self {
        let sub_sequence = None;
        Place { meta, sub_sequence }
    }

    /// The raw bytes to keep: without what they are a slice of (an aggregated record, a file's buffer), which may be far
    /// larger.
    pub(super) fn kept(&self, data: &Bytes) -> Bytes {
        Bytes::copy_from_slice(data)
    }
}
