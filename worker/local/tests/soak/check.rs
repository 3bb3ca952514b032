//! What a record says of itself, and the check of what a reader gets: one counter for each writer
//! and key, so that memory doesn't grow with the run.

use std::collections::HashMap;

/// Keys of each writer.
pub const KEYS: u32 = 32;

pub fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Writer and key.
pub type Lane = (u32, u32);

/// The n-th record of a writer under a key: 16 bytes that say so, and up to 400 that follow from them.
pub fn payload((writer, key): Lane, number: u64) -> Vec<u8> {
    let mut data = Vec::new();
    data.extend_from_slice(&writer.to_be_bytes());
    data.extend_from_slice(&key.to_be_bytes());
    data.extend_from_slice(&number.to_be_bytes());
    let seed = mix(u64::from(writer) << 48 ^ u64::from(key) << 40 ^ number);
    data.resize(16 + (seed % 400) as usize, seed as u8);
    data
}

/// What the record says; it must be whole.
pub fn parse(data: &[u8]) -> (Lane, u64) {
    let lane = (
        u32::from_be_bytes(data[..4].try_into().unwrap()),
        u32::from_be_bytes(data[4..8].try_into().unwrap()),
    );
    let number = u64::from_be_bytes(data[8..16].try_into().unwrap());
    assert_eq!(data, payload(lane, number), "a record's bytes");
    (lane, number)
}

pub fn partition_key((writer, key): Lane) -> String {
    format!("{writer}-{key}")
}

/// A sum over records that doesn't depend on their order: place and content.
pub fn digest(sequence: &str, lane: Lane, number: u64) -> u64 {
    let mut hash = mix(u64::from(lane.0) << 32 | u64::from(lane.1)) ^ mix(number);
    for chunk in sequence.as_bytes().chunks(8) {
        let mut bytes = [0; 8];
        bytes[..chunk.len()].copy_from_slice(chunk);
        hash = mix(hash ^ u64::from_be_bytes(bytes));
    }
    hash
}

#[derive(Default)]
struct LaneState {
    next: u64,
    last_sequence: String,
}

/// What one reader has seen. It reads parents before children, so that the records of a writer's key
/// come in the order they were put.
#[derive(Default)]
pub struct Checker {
    name: String,
    lanes: HashMap<Lane, LaneState>,
    shards: HashMap<String, (String, i128)>,
    pub records: u64,
    pub sum: u64,
}

impl Checker {
    pub fn new(name: String) -> Self {
        Self {
            name,
            ..Self::default()
        }
    }

    pub fn see(&mut self, shard: &str, sequence: &str, arrival: i128, data: &[u8]) {
        let name = &self.name;
        let (lane, number) = parse(data);
        let state = self.lanes.entry(lane).or_default();
        assert_eq!(
            number, state.next,
            "{name}, {shard}, {sequence}: record {number} of {lane:?} came when {} was next",
            state.next
        );
        assert!(
            *state.last_sequence < *sequence,
            "{name}, {shard}: {lane:?} goes back from {} to {sequence}",
            state.last_sequence
        );
        state.next += 1;
        sequence.clone_into(&mut state.last_sequence);
        let last = self.shards.entry(shard.to_owned()).or_default();
        assert!(
            *last.0 < *sequence,
            "{name}, {shard}: {} came before {sequence}",
            last.0
        );
        assert!(
            last.1 <= arrival,
            "{name}, {shard}: arrival times go back from {} to {arrival}",
            last.1
        );
        *last = (sequence.to_owned(), arrival);
        self.records += 1;
        self.sum = self.sum.wrapping_add(digest(sequence, lane, number));
    }

    /// A shard was read to its end; nothing of it may come again.
    pub fn end(&mut self, shard: &str) {
        self.shards.remove(shard);
    }
}

mod tests {
    //! The check itself must find what it is for.
    use super::*;

    fn seen(records: &[(&str, i128, u64)]) {
        let mut checker = Checker::new("reader".to_owned());
        for (sequence, arrival, number) in records {
            checker.see("shard", sequence, *arrival, &payload((1, 2), *number));
        }
    }

    #[test]
    fn what_is_in_order_passes() {
        seen(&[("1", 5, 0), ("2", 5, 1), ("4", 6, 2)]);
    }

    #[test]
    #[should_panic(expected = "record 2 of (1, 2) came when 1 was next")]
    fn a_lost_record_is_found() {
        seen(&[("1", 5, 0), ("3", 5, 2)]);
    }

    #[test]
    #[should_panic(expected = "record 0 of (1, 2) came when 1 was next")]
    fn a_doubled_record_is_found() {
        seen(&[("1", 5, 0), ("2", 5, 0)]);
    }

    #[test]
    #[should_panic(expected = "goes back from 2 to 1")]
    fn numbers_that_go_back_are_found() {
        seen(&[("2", 5, 0), ("1", 5, 1)]);
    }

    #[test]
    #[should_panic(expected = "arrival times go back from 5 to 4")]
    fn arrivals_that_go_back_are_found() {
        seen(&[("1", 5, 0), ("2", 4, 1)]);
    }

    #[test]
    #[should_panic(expected = "a record's bytes")]
    fn a_damaged_record_is_found() {
        let mut data = payload((1, 2), 0);
        data[16] ^= 1;
        Checker::new("reader".to_owned()).see("shard", "1", 5, &data);
    }
}
