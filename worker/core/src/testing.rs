//! Builders for the crate's own tests.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use crate::checkpoint::{Checkpoint, Counters, Floor, Generation, Latest, OpenWindow, Pending};
use crate::hash::HashRange;
use crate::plan::{Aggregate, Function};
use crate::row::{
    Batch, Column, ColumnKind, DeadLetter, DeadReason, LateTick, Partition, Row, Value,
};
use crate::sequence::{Position, SequenceNumber};
use crate::time::{Date, Micros};

/// A first version without anything in it.
pub fn empty_checkpoint() -> Checkpoint {
    Checkpoint::before_first(
        "5f2c",
        "k1",
        "shardId-000000000000",
        HashRange::ALL,
        Position::TrimHorizon,
    )
}

fn tickers() -> impl Strategy<Value = Arc<str>> {
    "[A-Z^./ é]{1,6}".prop_map(Arc::from)
}

fn sequences() -> impl Strategy<Value = SequenceNumber> {
    "[1-9][0-9]{0,55}".prop_map(|text| SequenceNumber::parse(&text).unwrap())
}

fn instants() -> impl Strategy<Value = Micros> {
    (-1_000_000_000_000i64..4_000_000_000_000_000).prop_map(Micros)
}

fn values() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        (-1e12f64..1e12).prop_map(Value::Double),
        any::<i64>().prop_map(Value::Long),
    ]
}

/// Any row.
pub fn rows() -> impl Strategy<Value = Row> {
    let figures = proptest::collection::vec(values(), 0..4);
    (
        tickers(),
        instants(),
        figures,
        sequences(),
        sequences(),
        1u64..99,
    )
        .prop_map(
            |(ticker, start, values, first_sequence, last_sequence, ticks)| Row {
                ticker,
                trade_date: start.date(),
                window_start: start,
                window_end: start.plus(60_000_000),
                values,
                ticks,
                first_sequence,
                last_sequence,
            },
        )
}

/// A record, and which of its sub-records.
fn places() -> impl Strategy<Value = (SequenceNumber, Option<u32>)> {
    (sequences(), proptest::option::of(any::<u32>()))
}

fn lates() -> impl Strategy<Value = LateTick> {
    let data = proptest::collection::vec(any::<u8>(), 0..50);
    (tickers(), instants(), places(), data).prop_map(|(ticker, at, place, data)| LateTick {
        ticker,
        trade_date: at.date(),
        event_time: at,
        arrival: at.plus(5),
        watermark: at.plus(9),
        sequence: place.0,
        sub_sequence: place.1,
        data: Bytes::from(data),
    })
}

fn deads() -> impl Strategy<Value = DeadLetter> {
    let data = proptest::collection::vec(any::<u8>(), 0..50);
    (0usize..DeadReason::ALL.len(), instants(), places(), data).prop_map(
        |(reason, arrival, place, data)| DeadLetter {
            reason: DeadReason::ALL[reason],
            detail: "found this".into(),
            arrival,
            sequence: place.0,
            sub_sequence: place.1,
            data: Bytes::from(data),
        },
    )
}

fn pendings() -> impl Strategy<Value = Pending> {
    (
        proptest::collection::vec(rows(), 0..4),
        proptest::collection::vec(lates(), 0..3),
        proptest::collection::vec(deads(), 0..3),
    )
        .prop_map(|(rows, late, dead)| Pending {
            rows: rows.into(),
            late,
            dead,
        })
}

fn windows() -> impl Strategy<Value = OpenWindow> {
    let slots = proptest::collection::vec(-1e9f64..1e9, 0..6);
    let ids = proptest::collection::vec("[a-z]{1,4}".prop_map(Arc::from), 0..3);
    (
        tickers(),
        instants(),
        any::<bool>(),
        slots,
        sequences(),
        ids,
    )
        .prop_map(|(ticker, start, dated, slots, sequence, ids)| OpenWindow {
            ticker,
            start,
            trade_date: Date::from_days(19_000),
            dated,
            ticks: 7,
            slots,
            first_sequence: sequence.clone(),
            last_sequence: sequence,
            ids,
        })
}

fn positions() -> impl Strategy<Value = Position> {
    prop_oneof![
        Just(Position::TrimHorizon),
        Just(Position::ShardEnd),
        Just(Position::StreamGone),
        any::<i64>().prop_map(Position::AtTimestamp),
        sequences().prop_map(Position::After),
    ]
}

/// Any checkpoint that can be written.
pub fn checkpoints() -> impl Strategy<Value = Checkpoint> {
    (
        positions(),
        proptest::option::of(instants()),
        proptest::collection::vec(windows(), 0..6),
        proptest::collection::vec((tickers(), instants()), 0..4),
        pendings(),
        pendings(),
        (any::<u128>(), any::<u128>(), any::<u64>(), any::<u64>()),
    )
        .prop_map(
            |(position, watermark, windows, latest, unsealed, sealed, numbers)| {
                let (a, b, version, epoch) = numbers;
                let range = HashRange::new(a.min(b), a.max(b)).unwrap();
                let counters = Counters {
                    ticks: epoch,
                    dead: [(DeadReason::Malformed, 3)].into(),
                    ..Counters::default()
                };
                Checkpoint {
                    version,
                    epoch,
                    range,
                    parents: vec!["shardId-000000000009".into()],
                    position,
                    read_through: watermark,
                    watermark,
                    floors: vec![Floor {
                        range,
                        watermark: Micros(1),
                    }],
                    generations: vec![Generation {
                        from: Micros(i64::MIN),
                        aggregates: vec![Aggregate {
                            name: "a".into(),
                            function: Function::Vwap,
                            field: "close".into(),
                        }],
                    }],
                    windows,
                    latest: latest
                        .into_iter()
                        .map(|(ticker, event_time)| Latest {
                            ticker,
                            close: Some(1.5),
                            event_time,
                        })
                        .collect(),
                    unsealed,
                    outbox: vec![Arc::new(Batch {
                        version: 3,
                        columns: vec![Column {
                            name: "a".into(),
                            kind: ColumnKind::Double,
                        }],
                        rows: sealed.rows,
                        late: sealed.late,
                        dead: sealed.dead,
                    })],
                    unregistered: vec![Partition {
                        ticker: "A".into(),
                        trade_date: Date::from_days(1),
                    }],
                    counters,
                    file_marks: vec![1, u64::MAX],
                    ..empty_checkpoint()
                }
            },
        )
}
