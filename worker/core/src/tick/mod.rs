//! The strict tick parser: bytes in, a tick or the reason why it is none.
//!
//! Owns what a well-formed tick is. A faster parser stands before this one ([`shape`]) and accepts nothing that this one
//! doesn't, with the same outcome. What it learns changes only its speed: the same bytes always give the same answer.

mod ahead;
mod batch;
mod block;
mod digits;
mod moment;
mod names;
pub(crate) mod numbers;
mod plain;
mod scalar;
mod shape;
mod template;

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::plan::{MAX_ID_BYTES, MAX_TICK_BYTES, MAX_TICKER_BYTES, RecordMapping};
use crate::row::DeadReason;
use crate::time::{Date, Micros};
use ahead::Ahead;
use names::Names;
use numbers::{ABSENT, present};
use scalar::{Scalar, ScalarSeed, TextSeed, clip};
use shape::Shapes;

pub(crate) use block::BlockRun;
pub use block::{MAX_BLOCK_BYTES, TickBlock};
pub(crate) use names::Tickers;

/// A well-formed tick. Its numbers stand in the parser's buffer ([`TickParser::numbers`]).
#[derive(Clone, Debug, PartialEq)]
pub struct Tick<'a> {
    /// The ticker: 1 to [`MAX_TICKER_BYTES`] bytes.
    pub ticker: Cow<'a, str>,
    /// When it happened.
    pub event_time: Micros,
    /// The trade date, when the tick carries one.
    pub trade_date: Option<Date>,
    /// The id, when `record.id` names a field.
    pub id: Option<Cow<'a, str>>,
}

/// Why bytes are no tick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// The stable reason.
    pub reason: DeadReason,
    /// What was found, for people.
    pub detail: String,
}

impl Unusable {
    fn new(reason: DeadReason, detail: impl Into<String>) -> Self {
        Unusable {
            reason,
            detail: detail.into(),
        }
    }
}

/// What a JSON key means. One key may play several roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Ticker,
    EventTime,
    TradeDate,
    Id,
    Volume,
    /// A number, and where it goes in the buffer; `None` when it is only checked.
    Number(Option<usize>),
}

/// Parses ticks of one pipeline.
#[derive(Debug)]
pub struct TickParser {
    roles: Vec<(String, Role)>,
    keys: Vec<String>,
    numbers: Vec<f64>,
    volume_index: Option<usize>,
    needs_id: bool,
    mapping: RecordMapping,
    shapes: Shapes,
    names: Names,
}

impl TickParser {
    /// A parser for `mapping` that keeps the numbers of `keys` (JSON keys, in this order).
    ///
    /// The mapped price fields and the volume are checked whether or not they are kept, so that a tick's soundness
    /// doesn't depend on which figures are asked for.
    pub fn new(mapping: &RecordMapping, keys: &[String]) -> Self {
        let mut roles = vec![
            (mapping.ticker.clone(), Role::Ticker),
            (mapping.event_time.clone(), Role::EventTime),
            (mapping.trade_date.clone(), Role::TradeDate),
            (mapping.volume.clone(), Role::Volume),
        ];
        if let Some(id) = &mapping.id {
            roles.push((id.clone(), Role::Id));
        }
        for key in [&mapping.open, &mapping.high, &mapping.low, &mapping.close] {
            if !keys.contains(key) {
                roles.push((key.clone(), Role::Number(None)));
            }
        }
        for (index, key) in keys.iter().enumerate() {
            if *key != mapping.volume {
                roles.push((key.clone(), Role::Number(Some(index))));
            }
        }
        TickParser {
            roles,
            keys: keys.to_vec(),
            numbers: vec![ABSENT; keys.len()],
            volume_index: keys.iter().position(|key| *key == mapping.volume),
            needs_id: mapping.id.is_some(),
            mapping: mapping.clone(),
            shapes: Shapes::default(),
            names: Names::default(),
        }
    }

    /// A parser of the same ticks, which has learned nothing yet.
    pub fn anew(&self) -> TickParser {
        TickParser::new(&self.mapping, &self.keys)
    }

    /// The numbers of the last tick that parsed, in the order of the keys; `None` where absent or null.
    pub fn numbers(&self) -> impl ExactSizeIterator<Item = Option<f64>> {
        self.numbers.iter().copied().map(present)
    }

    /// The same as they are kept: [`ABSENT`] for those that aren't there.
    pub(crate) fn packed_numbers(&self) -> &[f64] {
        &self.numbers
    }

    /// Where a JSON key's number stands, when it is kept.
    pub fn index_of(&self, key: &str) -> Option<usize> {
        self.keys.iter().position(|own| own == key)
    }

    /// As [`TickParser::parse`], of a record that may have been parsed already.
    pub(crate) fn take_parsed<'a>(
        &mut self,
        block: &'a TickBlock,
        index: usize,
    ) -> Option<Tick<'a>> {
        block.tick(index, &mut self.numbers)
    }

    /// The tick that begins a text of lines, when it is seen at once what it is, and where its line's content ends; its
    /// numbers go into `numbers`, which are [`ABSENT`] otherwise. Otherwise [`TickParser::parse`] must be asked, of the line.
    pub(crate) fn read_line<'a>(
        &mut self,
        text: &'a [u8],
        numbers: &mut [f64],
    ) -> Option<(Ahead<'a>, usize)> {
        let found = self.shapes.read_line(text, numbers);
        if found.is_some_and(|(_, end)| end > MAX_TICK_BYTES) {
            numbers.fill(ABSENT);
            return None;
        }
        found
    }

    /// Parses one tick.
    ///
    /// # Errors
    /// [`Unusable`] with the reason for the dead letter. Never panics, whatever the bytes.
    pub fn parse<'a>(&mut self, data: &'a [u8]) -> Result<Tick<'a>, Unusable> {
        if data.len() > MAX_TICK_BYTES {
            return Err(Unusable::new(
                DeadReason::TooLarge,
                format!("{} bytes, allowed are {MAX_TICK_BYTES}", data.len()),
            ));
        }
        self.numbers.fill(ABSENT);
        let ahead = self.shapes.read(data, &mut self.numbers);
        if let Some(tick) = ahead.as_ref().and_then(shape::tick_of) {
            return Ok(tick);
        }
        let learns = self.shapes.wants_to_learn();
        let tick = self.parse_strictly(data)?;
        if learns {
            let mut shapes = std::mem::take(&mut self.shapes);
            shapes.learn(data, self.volume_index, |key| self.roles_of(key));
            self.shapes = shapes;
        }
        Ok(tick)
    }

    /// The same without shapes. The data's length was looked at, and no numbers are there.
    fn parse_strictly<'a>(&mut self, data: &'a [u8]) -> Result<Tick<'a>, Unusable> {
        let mut fields = Fields::default();
        let mut json = serde_json::Deserializer::from_slice(data);
        let visited = json.deserialize_map(TickVisitor {
            parser: self,
            fields: &mut fields,
        });
        if let Err(error) = visited.and_then(|()| json.end()) {
            return Err(Unusable::new(
                DeadReason::Malformed,
                clip(&error.to_string()),
            ));
        }
        self.finish(fields)
    }

    fn finish<'a>(&self, fields: Fields<'a>) -> Result<Tick<'a>, Unusable> {
        if let Some(unusable) = fields.fault {
            return Err(unusable);
        }
        let missing = |key: &str| {
            Unusable::new(
                DeadReason::MissingField,
                format!("{key:?} is missing or null"),
            )
        };
        let id = match (&self.mapping.id, fields.id) {
            (Some(key), None) if self.needs_id => return Err(missing(key)),
            (_, id) => id,
        };
        Ok(Tick {
            ticker: fields.ticker.ok_or_else(|| missing(&self.mapping.ticker))?,
            event_time: fields
                .event_time
                .ok_or_else(|| missing(&self.mapping.event_time))?,
            trade_date: fields.trade_date,
            id,
        })
    }

    /// Gives a field's value to every role of its key.
    fn assign<'a>(&mut self, key: &str, value: &Scalar<'a>, fields: &mut Fields<'a>) {
        for index in 0..self.roles.len() {
            let (own, role) = &self.roles[index];
            if own == key {
                let role = *role;
                if let Err(expected) = self.take(role, value, fields) {
                    fields.fault.get_or_insert_with(|| {
                        Unusable::new(
                            DeadReason::InvalidField,
                            format!("{key:?} is {value}, expected {expected}"),
                        )
                    });
                }
            }
        }
    }

    fn take<'a>(
        &mut self,
        role: Role,
        value: &Scalar<'a>,
        fields: &mut Fields<'a>,
    ) -> Result<(), &'static str> {
        if matches!(value, Scalar::Null) {
            return Ok(()); // as if absent
        }
        match role {
            Role::Ticker => fields.ticker = Some(ticker(value)?),
            Role::EventTime => fields.event_time = Some(event_time(value)?),
            Role::TradeDate => fields.trade_date = Some(trade_date(value)?),
            Role::Id => fields.id = Some(id(value)?),
            Role::Volume => {
                let volume = integer(value)?;
                if let Some(index) = self.volume_index {
                    self.numbers[index] = volume;
                }
            }
            Role::Number(index) => {
                let number = number(value)?;
                if let Some(index) = index {
                    self.numbers[index] = number;
                }
            }
        }
        Ok(())
    }

    fn is_known(&self, key: &str) -> bool {
        self.roles.iter().any(|(own, _)| own == key)
    }
}

fn ticker<'a>(value: &Scalar<'a>) -> Result<Cow<'a, str>, &'static str> {
    match value {
        Scalar::Text(text) if (1..=MAX_TICKER_BYTES).contains(&text.len()) => Ok(text.clone()),
        _ => Err("a string of 1 to 64 bytes"),
    }
}

fn event_time(value: &Scalar<'_>) -> Result<Micros, &'static str> {
    let expected = "an ISO-8601 date and time between the years 1900 and 2999";
    match value {
        Scalar::Text(text) => Micros::parse(text).ok_or(expected),
        _ => Err(expected),
    }
}

fn trade_date(value: &Scalar<'_>) -> Result<Date, &'static str> {
    let expected = "a date \"YYYY-MM-DD\" between the years 1900 and 2999";
    match value {
        Scalar::Text(text) => Date::parse(text).ok_or(expected),
        _ => Err(expected),
    }
}

fn id<'a>(value: &Scalar<'a>) -> Result<Cow<'a, str>, &'static str> {
    match value {
        Scalar::Text(text) if (1..=MAX_ID_BYTES).contains(&text.len()) => Ok(text.clone()),
        Scalar::Unsigned(number) => Ok(Cow::Owned(number.to_string())),
        Scalar::Signed(number) => Ok(Cow::Owned(number.to_string())),
        _ => Err("a string of 1 to 256 bytes or an integer"),
    }
}

fn number(value: &Scalar<'_>) -> Result<f64, &'static str> {
    // Integers above 2^53 lose digits: the table's type is double.
    #[allow(clippy::cast_precision_loss)]
    match value {
        Scalar::Unsigned(number) => Ok(*number as f64),
        Scalar::Signed(number) => Ok(*number as f64),
        Scalar::Double(number) if number.is_finite() => Ok(*number),
        _ => Err("a finite number"),
    }
}

fn integer(value: &Scalar<'_>) -> Result<f64, &'static str> {
    let expected = "an integer";
    let number = number(value).map_err(|_| expected)?;
    if number.fract() == 0.0 {
        Ok(number)
    } else {
        Err(expected)
    }
}

/// A tick's fields while they are read.
#[derive(Default)]
struct Fields<'a> {
    ticker: Option<Cow<'a, str>>,
    event_time: Option<Micros>,
    trade_date: Option<Date>,
    id: Option<Cow<'a, str>>,
    /// Known keys met so far, to find one that comes twice.
    seen: Vec<Cow<'a, str>>,
    /// The first field that can't be used.
    fault: Option<Unusable>,
}

struct TickVisitor<'p, 'f, 'a> {
    parser: &'p mut TickParser,
    fields: &'f mut Fields<'a>,
}

impl<'a> Visitor<'a> for TickVisitor<'_, '_, 'a> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(TextSeed)? {
            if !self.parser.is_known(&key) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let value = map.next_value_seed(ScalarSeed)?;
            if self.fields.seen.contains(&key) {
                self.fields.fault.get_or_insert_with(|| {
                    Unusable::new(DeadReason::InvalidField, format!("{key:?} stands twice"))
                });
                continue;
            }
            self.parser.assign(&key, &value, self.fields);
            self.fields.seen.push(key);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn parser() -> TickParser {
        TickParser::new(
            &RecordMapping::default(),
            &["close".to_owned(), "volume".to_owned()],
        )
    }

    fn reason(json: &str) -> (DeadReason, String) {
        let unusable = parser().parse(json.as_bytes()).unwrap_err();
        (unusable.reason, unusable.detail)
    }

    const WHOLE: &str = r#"{"ticker":"AAPL","date":"2024-01-02","timestamp":"2024-01-02T15:00:01Z",
        "open":1.0,"high":2,"low":0.5,"close":185.64,"volume":123.0,"venue":{"id":[1,2]}}"#;

    #[test]
    fn a_whole_tick_is_read() {
        let mut parser = parser();
        let tick = parser.parse(WHOLE.as_bytes()).unwrap();
        assert_eq!(tick.ticker, "AAPL");
        assert_eq!(tick.event_time.to_string(), "2024-01-02T15:00:01Z");
        assert_eq!(tick.trade_date, Date::parse("2024-01-02"));
        assert_eq!(
            parser.numbers().collect::<Vec<_>>(),
            [Some(185.64), Some(123.0)]
        );
    }

    #[test]
    fn absent_and_null_numbers_are_holes_not_faults() {
        let mut parser = parser();
        let json = r#"{"ticker":"A","timestamp":"2024-01-02T15:00:01","close":1,"volume":null}"#;
        let tick = parser.parse(json.as_bytes()).unwrap();
        assert_eq!(tick.trade_date, None);
        assert_eq!(parser.numbers().collect::<Vec<_>>(), [Some(1.0), None]);
    }

    #[test]
    fn numbers_of_an_earlier_tick_do_not_leak_into_the_next() {
        let mut parser = parser();
        parser.parse(WHOLE.as_bytes()).unwrap();
        parser
            .parse(br#"{"ticker":"A","timestamp":"2024-01-02T15:00:01Z"}"#)
            .unwrap();
        assert_eq!(parser.numbers().collect::<Vec<_>>(), [None, None]);
    }

    #[test]
    fn each_kind_of_bad_tick_has_its_reason_and_names_the_field() {
        let head = r#"{"timestamp":"2024-01-02T15:00:01Z","ticker":"#;
        for (json, expected, part) in [
            ("", DeadReason::Malformed, "EOF"),
            ("{", DeadReason::Malformed, "EOF"),
            ("[]", DeadReason::Malformed, "expected a JSON object"),
            ("{} {}", DeadReason::Malformed, "trailing"),
            (
                &format!("{head}\"A\",\"close\":NaN}}"),
                DeadReason::Malformed,
                "expected",
            ),
            (
                &format!("{head}\"A\",\"close\":-Infinity}}"),
                DeadReason::Malformed,
                "",
            ),
            (
                &format!("{head}\"A\",\"close\":1e999}}"),
                DeadReason::Malformed,
                "out of range",
            ),
            (
                &format!("{head}\"A\",\"close\":01}}"),
                DeadReason::Malformed,
                "invalid number",
            ),
            (&format!("{head}null}}"), DeadReason::MissingField, "ticker"),
            (r#"{"ticker":"A"}"#, DeadReason::MissingField, "timestamp"),
            (&format!("{head}7}}"), DeadReason::InvalidField, "ticker"),
            (&format!("{head}\"\"}}"), DeadReason::InvalidField, "ticker"),
            (
                &format!("{head}\"{}\"}}", "x".repeat(10_000)),
                DeadReason::InvalidField,
                "10000 bytes",
            ),
            (
                &format!("{head}\"A\",\"close\":\"1.0\"}}"),
                DeadReason::InvalidField,
                "close",
            ),
            (
                &format!("{head}\"A\",\"close\":true}}"),
                DeadReason::InvalidField,
                "true",
            ),
            (
                &format!("{head}\"A\",\"high\":[1]}}"),
                DeadReason::InvalidField,
                "an array",
            ),
            (
                &format!("{head}\"A\",\"volume\":1.5}}"),
                DeadReason::InvalidField,
                "an integer",
            ),
            (
                &format!("{head}\"A\",\"date\":\"02.01.2024\"}}"),
                DeadReason::InvalidField,
                "date",
            ),
            (
                &format!("{head}\"A\",\"close\":1,\"close\":2}}"),
                DeadReason::InvalidField,
                "twice",
            ),
            (
                r#"{"ticker":"A","timestamp":1704207601}"#,
                DeadReason::InvalidField,
                "ISO-8601",
            ),
            (
                r#"{"ticker":"A","timestamp":"0001-01-01T00:00:00Z"}"#,
                DeadReason::InvalidField,
                "1900",
            ),
        ] {
            let (found, detail) = reason(json);
            assert_eq!(found, expected, "{json} gave {detail}");
            assert!(detail.contains(part), "{json} gave {detail}");
        }
    }

    #[test]
    fn a_tick_above_ten_mebibytes_is_refused_and_one_below_is_not() {
        let tick = |size: usize| {
            let head = r#"{"ticker":"A","timestamp":"2024-01-02T15:00:01Z","pad":""#;
            format!("{head}{}\"}}", "x".repeat(size - head.len() - 2))
        };
        assert!(parser().parse(tick(MAX_TICK_BYTES).as_bytes()).is_ok());
        assert_eq!(reason(&tick(MAX_TICK_BYTES + 1)).0, DeadReason::TooLarge);
    }

    #[test]
    fn nesting_without_end_is_malformed_not_a_crash() {
        let deep = format!(r#"{{"ticker":{}"#, "[".repeat(1_000_000));
        assert_eq!(reason(&deep).0, DeadReason::Malformed);
    }

    #[test]
    fn mapped_keys_and_ids_are_read() {
        let mapping = RecordMapping {
            ticker: "s".into(),
            event_time: "t".into(),
            id: Some("n".into()),
            ..RecordMapping::default()
        };
        let mut parser = TickParser::new(&mapping, &["p".to_owned()]);
        let tick = parser
            .parse(br#"{"s":"\u00c4","t":"2024-01-02T15:00:01Z","n":18446744073709551615,"p":2}"#)
            .unwrap();
        assert_eq!(tick.ticker, "Ä");
        assert_eq!(tick.id.as_deref(), Some("18446744073709551615"));
        assert_eq!(parser.numbers().collect::<Vec<_>>(), [Some(2.0)]);
        let unusable = parser
            .parse(br#"{"s":"A","t":"2024-01-02T15:00:01Z"}"#)
            .unwrap_err();
        assert_eq!(unusable.reason, DeadReason::MissingField);
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parser().parse(&data);
        }

        #[test]
        fn a_cut_tick_is_never_taken_for_a_whole_one(cut in 0usize..200) {
            let bytes = WHOLE.as_bytes();
            if cut < bytes.len() {
                prop_assert!(parser().parse(&bytes[..cut]).is_err());
            }
        }
    }
}
