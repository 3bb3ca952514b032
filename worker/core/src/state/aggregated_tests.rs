//! What becomes of the ticks in an aggregated record.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::aggregated::aggregate;
use crate::hash::key_hash;
use crate::testing::empty_checkpoint;

const START: i64 = 1_704_206_400_000_000;

fn tick(ticker: &str, seconds: i64) -> Bytes {
    let at = Micros(START + seconds * 1_000_000);
    Bytes::from(
        serde_json::json!({"ticker": ticker, "timestamp": at.to_string(), "close": 1.5})
            .to_string(),
    )
}

/// A shard that holds only `range`.
fn shard(range: HashRange, plan: Plan) -> ShardState {
    let mut first = empty_checkpoint();
    first.range = range;
    ShardState::restore(Arc::new(plan), &first, Monotonic(0)).unwrap()
}

fn meta(sequence: u64) -> RecordMeta {
    RecordMeta {
        sequence: sequence.into(),
        arrival: Micros(START + 600 * 1_000_000),
    }
}

fn record(records: &[(&str, Option<u128>, Bytes)]) -> Bytes {
    let records: Vec<_> = records
        .iter()
        .map(|(key, explicit, data)| ((*key).to_owned(), *explicit, data.clone()))
        .collect();
    aggregate(&records)
}

#[test]
fn every_sub_record_gets_the_fate_of_a_tick_and_the_position_moves_once() {
    let mut state = shard(HashRange::ALL, Plan::default());
    let whole = record(&[
        ("A", None, tick("A", 0)),
        ("A", None, tick("A", 400)),
        ("A", None, Bytes::from_static(b"no tick")),
        ("A", None, tick("A", 1)),
    ]);
    let Applied::Aggregated(fates) = state.apply(&meta(7), &whole, Monotonic(0)) else {
        unreachable!("it is an aggregated record")
    };
    assert_eq!((fates.late, fates.misrouted), (1, 0));
    assert_eq!(fates.dead, [(DeadReason::Malformed, 1)].into());
    assert_eq!(state.counters().ticks, 2);
    assert_eq!(*state.position(), Position::After(7.into()));
    let pending = state.unsealed();
    assert_eq!(pending.rows.len(), 1);
    let (late, dead) = (&pending.late[0], &pending.dead[0]);
    assert_eq!((&late.sequence, late.sub_sequence), (&7.into(), Some(3)));
    assert_eq!((&dead.sequence, dead.sub_sequence), (&7.into(), Some(2)));
    assert_eq!(
        (&late.data, &dead.data[..]),
        (&tick("A", 1), &b"no tick"[..])
    );
}

#[test]
fn a_reject_keeps_its_own_bytes_not_the_records() {
    let mut state = shard(HashRange::ALL, Plan::default());
    let whole = record(&[("A", None, Bytes::from_static(b"no tick"))]);
    state.apply(&meta(1), &whole, Monotonic(0));
    let kept = state.unsealed().dead[0].data.as_ptr() as usize;
    let memory = whole.as_ptr() as usize..whole.as_ptr() as usize + whole.len();
    assert!(!memory.contains(&kept));
}

#[test]
fn a_misrouted_sub_record_is_dropped_and_counted_before_the_key_contract() {
    let hash = key_hash("A");
    let mut state = shard(HashRange::new(hash, hash).unwrap(), Plan::default());
    let whole = record(&[
        ("A", None, tick("A", 0)),
        // Another shard's, by its partition key or its explicit hash key.
        ("B", None, tick("B", 0)),
        ("A", Some(hash - 1), tick("A", 0)),
        // This shard's, by its explicit hash key: the ticker is what breaks the contract.
        ("B", Some(hash), tick("B", 0)),
    ]);
    let Applied::Aggregated(fates) = state.apply(&meta(1), &whole, Monotonic(0)) else {
        unreachable!("it is an aggregated record")
    };
    assert_eq!(fates.misrouted, 2);
    assert_eq!(fates.dead, [(DeadReason::WrongShard, 1)].into());
    assert_eq!((state.counters().ticks, state.counters().misrouted), (1, 2));
}

#[test]
fn a_damaged_aggregated_record_is_one_dead_letter() {
    let mut state = shard(HashRange::ALL, Plan::default());
    let mut whole = record(&[("A", None, tick("A", 0))]).to_vec();
    whole[9] ^= 1;
    let applied = state.apply(&meta(1), &Bytes::from(whole.clone()), Monotonic(0));
    assert_eq!(applied, Applied::Dead(DeadReason::Malformed));
    let dead = &state.unsealed().dead[0];
    assert_eq!((dead.sub_sequence, &dead.data[..]), (None, &whole[..]));
}

#[test]
fn the_lines_of_files_are_never_taken_apart() {
    let plan = Plan {
        keyed_by_ticker: false,
        ..Plan::default()
    };
    let mut state = shard(HashRange::ALL, plan);
    let whole = record(&[("A", None, tick("A", 0))]);
    let applied = state.apply(&meta(1), &whole, Monotonic(0));
    assert_eq!(applied, Applied::Dead(DeadReason::Malformed));
}
