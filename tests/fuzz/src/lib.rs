//! What the fuzz targets hold: a faster parser gives what the strict one gives, or leaves it to the strict one.
//!
//! Owns the comparison. `make fuzz` looks for bytes that break it; the tests here run it over the seeds and simple
//! damages of them, the same ones each time. Must never know how the faster parsers work.
#![allow(clippy::panic, reason = "a panic is how a finding is told")]

use std::ops::Range;

use bytes::Bytes;
use stockstream::source::kinesis::{decode, decode_by_sdk};
use stockstream_core::plan::RecordMapping;
use stockstream_core::tick::{TickBlock, TickParser, Unusable};

/// The longest input that is of use: some records.
pub const LONGEST: usize = 8 * 1024;

/// What became of a record: ticker, time, date, id and numbers, bit for bit.
type Outcome = Result<
    (
        String,
        i64,
        Option<String>,
        Option<String>,
        Vec<Option<u64>>,
    ),
    Unusable,
>;

fn outcome(parser: &mut TickParser, record: &[u8]) -> Outcome {
    let tick = parser.parse(record)?;
    let (ticker, id) = (tick.ticker.to_string(), tick.id.map(|id| id.to_string()));
    let (at, date) = (tick.event_time.0, tick.trade_date);
    let date = date.map(|date| format!("{date:?}"));
    let numbers = parser.numbers();
    let numbers = numbers.map(|number| number.map(f64::to_bits)).collect();
    Ok((ticker, at, date, id, numbers))
}

/// Ticks, a line each, by one parser that learns their layouts and by a new one for each, which knows none.
pub fn ticks(lines: &[u8]) {
    for id in [None, Some("id".to_owned())] {
        let mapping = RecordMapping {
            id,
            ..RecordMapping::default()
        };
        let keys = ["close", "volume", "high"].map(str::to_owned);
        let mut learned = TickParser::new(&mapping, &keys);
        for (number, record) in lines.split(|byte| *byte == b'\n').enumerate() {
            let strict = outcome(&mut TickParser::new(&mapping, &keys), record);
            // The first again, so that whatever it takes to be learned from has happened when others come.
            for _ in 0..if number == 0 { 3 } else { 1 } {
                let found = outcome(&mut learned, record);
                assert_eq!(found, strict, "{}", String::from_utf8_lossy(record));
            }
        }
    }
}

/// Lines that are parsed together, by a parser that has learned from the same lines: where each record stands, and what it gives,
/// is what a line alone gives.
pub fn blocks(lines: &[u8]) {
    let keys = ["close", "volume", "high"].map(str::to_owned);
    let mut learned = TickParser::new(&RecordMapping::default(), &keys);
    for (number, record) in lines.split(|byte| *byte == b'\n').enumerate() {
        for _ in 0..if number == 0 { 3 } else { 1 } {
            let _ = learned.parse(record);
        }
    }
    let block = TickBlock::parse(&mut learned, Bytes::copy_from_slice(lines), line_at);
    let (mut at, mut count) = (0, 0);
    while at < lines.len() {
        let (place, next) = line_at(lines, at);
        at = next;
        if place.is_empty() {
            continue;
        }
        let record = &lines[place];
        let shown = String::from_utf8_lossy(record);
        assert_eq!(block.data(count), record, "record {count}: {shown}");
        let mut numbers = [0.0; 3];
        if let Some(tick) = block.tick(count, &mut numbers) {
            let found = (tick.ticker.to_string(), tick.event_time, tick.trade_date);
            let mut strict = TickParser::new(&RecordMapping::default(), &keys);
            let expected = strict.parse(record);
            let expected =
                expected.map(|tick| (tick.ticker.to_string(), tick.event_time, tick.trade_date));
            assert_eq!(Ok(found), expected, "{shown}");
            let found = numbers.map(|number| (!number.is_nan()).then(|| number.to_bits()));
            let expected = strict.numbers().map(|number| number.map(f64::to_bits));
            assert!(expected.eq(found), "{shown}");
        }
        count += 1;
    }
    assert_eq!(block.len(), count, "records");
}

fn line_at(text: &[u8], at: usize) -> (Range<usize>, usize) {
    let rest = text.get(at..).unwrap_or_default();
    let length = rest.iter().position(|byte| *byte == b'\n');
    let length = length.unwrap_or(rest.len());
    let cut = usize::from(length > 0 && rest[length - 1] == b'\r');
    (at..at + length - cut, at + length + 1)
}

/// An answer of GetRecords.
pub fn replies(body: &[u8]) {
    if let Some(reply) = decode(body) {
        match decode_by_sdk(body) {
            Ok(expected) => assert_eq!(reply, expected, "{}", String::from_utf8_lossy(body)),
            Err(error) => panic!("{error}: {}", String::from_utf8_lossy(body)),
        }
    }
}
