//! The bytes of each format are frozen: a checkpoint that some release wrote is read by the releases after it, and what
//! this one writes is read by the others that know the format.
//!
//! After a change that is meant (a new format, never a new form of an old one):
//! `STOCKSTREAM_UPDATE_GOLDEN=1 cargo test -p stockstream-core --test golden`.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use stockstream_core::checkpoint::{Checkpoint, Handover};
use stockstream_core::codec::{FORMAT, OLDEST_FORMAT, decode, encode_as};
use stockstream_core::hash::HashRange;
use stockstream_core::plan::{Aggregate, Function, Plan};
use stockstream_core::row::Batch;
use stockstream_core::sequence::{Position, SequenceNumber};
use stockstream_core::state::{RecordMeta, ShardState};
use stockstream_core::time::{Micros, Monotonic};

const START: i64 = 1_704_206_400_000_000;

/// Something of everything: rows, open windows with ids, late ticks, dead letters, a batch that is being published; long
/// sequence numbers and short ones.
fn sample() -> Checkpoint {
    let aggregate = |name: &str, function| Aggregate {
        name: name.into(),
        function,
        field: "close".into(),
    };
    let mut plan = Plan {
        aggregates: vec![
            aggregate("avg", Function::Avg),
            aggregate("n", Function::Count),
        ],
        keyed_by_ticker: false,
        ..Plan::default()
    };
    plan.record.id = Some("id".into());
    let mut checkpoint = Checkpoint::before_first(
        "5f2c",
        "k1",
        "shardId-000000000000",
        HashRange::ALL,
        Position::TrimHorizon,
    );
    let mut state = ShardState::restore(Arc::new(plan), &checkpoint, Monotonic(0)).unwrap();
    let mut apply = |number: u64, sequence: &str, data: String| {
        let meta = RecordMeta {
            sequence: SequenceNumber::parse(sequence).unwrap(),
            arrival: Micros(START + 600_000_000),
        };
        state.apply(
            &meta,
            &Bytes::from(data),
            Monotonic(i64::try_from(number).unwrap()),
        );
    };
    for number in 0..40u64 {
        let ticker = ["AAPL", "BRK.B", "Ä", "ABCDEFGHIJKL"][usize::try_from(number % 4).unwrap()];
        let at = Micros(START + i64::try_from(number).unwrap() * 15_000_000);
        let close = 100.0 + f64::from(u32::try_from(number).unwrap()) / 4.0;
        let text = format!(
            "{{\"ticker\":\"{ticker}\",\"timestamp\":\"{at}\",\"date\":\"2024-01-02\",\"id\":\"i{number}\",\"close\":{close}}}"
        );
        let long = format!("4964{number:052}");
        let short = (number + 1).to_string();
        apply(number, if number < 20 { &short } else { &long }, text);
    }
    let late = Micros(START);
    apply(
        40,
        &format!("4964{:052}", 40),
        format!("{{\"ticker\":\"AAPL\",\"timestamp\":\"{late}\",\"id\":\"x\",\"close\":1}}"),
    );
    apply(41, &format!("4964{:052}", 41), "no tick".to_owned());
    state.write_to(&mut checkpoint);
    let sealed = state.take_unsealed();
    let columns = state.columns();
    checkpoint.outbox.push(Arc::new(Batch {
        version: 3,
        columns,
        rows: sealed.rows,
        late: sealed.late,
        dead: sealed.dead,
    }));
    checkpoint.version = 4;
    checkpoint.epoch = 2;
    checkpoint.owner = "w-1".to_owned();
    checkpoint.writer = "0.1.0".to_owned();
    checkpoint.handover = Some(Handover {
        from: "w-0".to_owned(),
        at: Micros(START),
    });
    checkpoint.file_marks = vec![1, u64::MAX];
    checkpoint
}

fn golden(format: u16) -> PathBuf {
    // Where it runs, not where it was compiled: checkouts share a cache.
    let run = std::env::var_os("CARGO_MANIFEST_DIR");
    let root = run.map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    let folder = root.join("tests/golden");
    folder.join(format!("checkpoint-format-{format}.ckpt"))
}

/// What the zstd frame holds. The frame itself may differ from one release of zstd to the next.
fn content(bytes: &[u8]) -> Vec<u8> {
    zstd::decode_all(&bytes[60..]).unwrap()
}

#[test]
fn every_format_is_written_and_read_as_ever() {
    for format in OLDEST_FORMAT..=FORMAT {
        let mut expected = sample();
        if format == 1 {
            expected.handover = None;
        }
        let bytes = encode_as(&expected, format).unwrap();
        if std::env::var_os("STOCKSTREAM_UPDATE_GOLDEN").is_some() {
            std::fs::write(golden(format), &bytes).unwrap();
        }
        let frozen = std::fs::read(golden(format)).unwrap();
        assert!(
            decode(&frozen).unwrap() == expected,
            "format {format} is read otherwise"
        );
        assert!(
            content(&frozen) == content(&bytes),
            "format {format} is written otherwise"
        );
    }
}

#[test]
fn the_sample_has_something_of_everything() {
    let sample = sample();
    assert!(
        !sample.windows.is_empty() && sample.windows.iter().any(|window| !window.ids.is_empty())
    );
    let unsealed = &sample.unsealed;
    assert!(!unsealed.rows.is_empty() && !unsealed.late.is_empty() && !unsealed.dead.is_empty());
    assert!(!sample.latest.is_empty() && !sample.generations.is_empty());
}
