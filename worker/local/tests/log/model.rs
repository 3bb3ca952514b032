//! The log against the plainest model: a Vec per shard. Random puts, waits, clocks set back, splits,
//! merges and (on disk) restarts; then every way of reading is compared.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use stockstream_local::api::{PutRecordsResult, RetentionRequest, ShardView};
use stockstream_local::log::hash_key;
use stockstream_local::{Clock as _, Kinesis, ManualClock, Storage};

use crate::harness::*;

#[derive(Debug, Clone)]
enum Step {
    Put(u8, usize),
    PutMany(Vec<(u8, usize)>),
    Advance(u64),
    SetBack(u64),
    Split(prop::sample::Index),
    Merge(prop::sample::Index),
    Scale(prop::sample::Index),
    Maintain,
    Restart,
}

fn any_step() -> impl Strategy<Value = Step> {
    let record = || (0..20_u8, 0..400_usize);
    prop_oneof![
        6 => record().prop_map(|(key, size)| Step::Put(key, size)),
        6 => prop::collection::vec(record(), 1..30).prop_map(Step::PutMany),
        4 => (0..5_000_u64).prop_map(Step::Advance),
        1 => (1..3_000_u64).prop_map(Step::SetBack),
        1 => any::<prop::sample::Index>().prop_map(Step::Split),
        1 => any::<prop::sample::Index>().prop_map(Step::Merge),
        1 => any::<prop::sample::Index>().prop_map(Step::Scale),
        1 => Just(Step::Maintain),
        1 => Just(Step::Restart),
    ]
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct ModelRecord {
    sequence: String,
    key: String,
    data: Vec<u8>,
    /// The clock when it was put; its arrival is this or, with the clock set back, an earlier
    /// record's arrival.
    put_at: u64,
}

/// The range a shard had in the listing, and what was put into it.
type Model = BTreeMap<String, Vec<ModelRecord>>;

fn owner(open: &[ShardView], key: &str) -> String {
    let hash = hash_key(key);
    let owns = |shard: &&ShardView| {
        let range = &shard.hash_key_range;
        (range.starting_hash_key.parse::<u128>().unwrap()..=range.ending_hash_key.parse().unwrap())
            .contains(&hash)
    };
    open.iter().find(owns).unwrap().shard_id.clone()
}

fn apply_puts(
    kinesis: &Kinesis,
    clock: &ManualClock,
    model: &mut Model,
    records: &[(u8, usize)],
    counter: &mut usize,
) {
    let open = open_shards(kinesis);
    let pairs: Vec<(String, Vec<u8>)> = records
        .iter()
        .map(|(key, size)| {
            *counter += 1;
            let mut data = counter.to_string().into_bytes();
            data.resize(data.len() + size, b'.');
            (format!("key-{key}"), data)
        })
        .collect();
    let results = put_many(kinesis, &pairs);
    for ((key, data), result) in pairs.into_iter().zip(results) {
        let PutRecordsResult::Written {
            shard_id,
            sequence_number,
        } = result
        else {
            panic!("a record failed");
        };
        assert_eq!(
            shard_id,
            owner(&open, &key),
            "routed by the hash of its key"
        );
        model.entry(shard_id).or_default().push(ModelRecord {
            sequence: sequence_number.to_string(),
            key,
            data,
            put_at: clock.wall_millis(),
        });
    }
}

fn compare(kinesis: &Kinesis, model: &Model, limit: i64) {
    for shard in shards(kinesis) {
        let expected = model.get(&shard.shard_id).cloned().unwrap_or_default();
        let id = &shard.shard_id;
        let from_start = drain(kinesis, iterator(kinesis, id, "TRIM_HORIZON"), Some(limit));
        let seen: Vec<_> = from_start
            .iter()
            .zip(
                expected
                    .iter()
                    .map(|record| record.put_at)
                    .chain(std::iter::repeat(0)),
            )
            .map(|(record, put_at)| ModelRecord {
                sequence: record.sequence_number.to_string(),
                key: record.record.partition_key().to_owned(),
                data: record.record.data().to_vec(),
                put_at,
            })
            .collect();
        assert_eq!(seen, expected, "{id} from the trim horizon");
        for pair in from_start.windows(2) {
            assert!(
                pair[0].sequence_number < pair[1].sequence_number,
                "sequence numbers grow"
            );
            assert!(
                pair[0].arrival_millis <= pair[1].arrival_millis,
                "arrival never goes back"
            );
        }
        for (record, expected) in from_start.iter().zip(&expected) {
            assert!(
                record.arrival_millis >= expected.put_at,
                "no record arrives before it was put"
            );
        }
        if let Some(middle) = from_start.get(from_start.len() / 2) {
            let sequence = middle.sequence_number.to_string();
            let at = iterator_from(kinesis, id, "AT_SEQUENCE_NUMBER", &sequence).unwrap();
            assert_eq!(drain(kinesis, at, None), from_start[from_start.len() / 2..]);
            let after = iterator_from(kinesis, id, "AFTER_SEQUENCE_NUMBER", &sequence).unwrap();
            assert_eq!(
                drain(kinesis, after, None),
                from_start[from_start.len() / 2 + 1..]
            );
            for millis in [middle.arrival_millis, middle.arrival_millis - 1] {
                let at = iterator_at(kinesis, id, millis).unwrap();
                let expected: Vec<_> = from_start
                    .iter()
                    .filter(|record| record.arrival_millis >= millis)
                    .cloned()
                    .collect();
                assert_eq!(drain(kinesis, at, None), expected, "{id} at {millis}");
            }
        }
        assert_eq!(drain(kinesis, iterator(kinesis, id, "LATEST"), None), []);
    }
}

fn run(steps: &[Step], limit: i64, storage: &Storage) {
    let clock = Arc::new(ManualClock::new(START));
    let mut kinesis = open(storage.clone(), clock.clone());
    create(&kinesis, 2);
    // Nothing expires: the model forgets nothing.
    kinesis
        .increase_stream_retention_period(&RetentionRequest {
            stream: stream(),
            retention_period_hours: Some(8760),
        })
        .unwrap();
    let mut model = Model::new();
    let mut counter = 0;
    for step in steps {
        match step {
            Step::Put(key, size) => {
                apply_puts(&kinesis, &clock, &mut model, &[(*key, *size)], &mut counter)
            }
            Step::PutMany(records) => {
                apply_puts(&kinesis, &clock, &mut model, records, &mut counter)
            }
            Step::Advance(millis) => clock.advance(Duration::from_millis(*millis)),
            Step::SetBack(millis) => clock.set_wall_millis(clock.wall_millis() - millis),
            Step::Split(index) => {
                let open = open_shards(&kinesis);
                let shard = index.get(&open);
                let start: u128 = shard.hash_key_range.starting_hash_key.parse().unwrap();
                let end: u128 = shard.hash_key_range.ending_hash_key.parse().unwrap();
                split(&kinesis, &shard.shard_id, start + (end - start) / 2).unwrap();
            }
            Step::Merge(index) => {
                let open = open_shards(&kinesis);
                if open.len() > 1 {
                    let place = index.index(open.len() - 1);
                    merge(&kinesis, &open[place].shard_id, &open[place + 1].shard_id).unwrap();
                }
            }
            Step::Scale(index) => {
                let open = open_shards(&kinesis).len();
                let (least, most) = (open.div_ceil(2), (2 * open).min(12));
                if least < most {
                    scale(&kinesis, (least + index.index(most - least)) as i64).unwrap();
                }
                // Ten a day are allowed.
                clock.advance(Duration::from_secs(3 * 3600));
            }
            Step::Maintain => kinesis.maintain().unwrap(),
            Step::Restart => {
                if matches!(storage, Storage::Directory(_)) {
                    drop(kinesis);
                    kinesis = open(storage.clone(), clock.clone());
                }
            }
        }
    }
    compare(&kinesis, &model, limit);
    check_lineage(&kinesis);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]
    #[test]
    fn in_memory_the_log_is_a_vec_per_shard(steps in prop::collection::vec(any_step(), 1..60), limit in 1..50_i64) {
        run(&steps, limit, &Storage::default());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 15, ..ProptestConfig::default() })]
    #[test]
    fn on_disk_the_log_is_a_vec_per_shard_across_restarts(steps in prop::collection::vec(any_step(), 1..60), limit in 1..50_i64) {
        let directory = tempfile::tempdir().unwrap();
        run(&steps, limit, &disk(directory.path()));
    }
}
