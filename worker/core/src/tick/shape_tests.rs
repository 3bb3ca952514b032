//! The faster parser gives what the strict one gives, whatever it has learned before.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use crate::plan::RecordMapping;

use super::super::*;

fn mapping() -> RecordMapping {
    RecordMapping {
        id: Some("id".into()),
        ..RecordMapping::default()
    }
}

fn parser() -> TickParser {
    let keys = ["close", "volume", "high"].map(str::to_owned);
    TickParser::new(&mapping(), &keys)
}

/// What became of a record, with its numbers bit for bit.
type Outcome = Result<(String, i64, Option<Date>, Option<String>, Vec<Option<u64>>), Unusable>;

fn outcome(parser: &mut TickParser, data: &[u8]) -> Outcome {
    let tick = parser.parse(data)?;
    let (ticker, id) = (tick.ticker.to_string(), tick.id.map(|id| id.to_string()));
    let (at, date) = (tick.event_time.0, tick.trade_date);
    let numbers = parser.numbers();
    let numbers = numbers.map(|number| number.map(f64::to_bits)).collect();
    Ok((ticker, at, date, id, numbers))
}

/// As the strict parser alone has it.
fn strictly(data: &[u8]) -> Outcome {
    let mut fresh = parser();
    outcome(&mut fresh, data)
}

const PLAIN: &str = r#"{"ticker":"AAPL","timestamp":"2024-01-02T15:00:01.5Z","date":"2024-01-02","id":"a7","close":185.64,"volume":1200,"venue":"XNAS","high":186,"odd":null}"#;

/// Whether the faster parser alone reads the second record after the first.
fn is_read_by_shape(first: &str, second: &str) -> bool {
    let mut parser = parser();
    parser.parse(first.as_bytes()).unwrap();
    let data = second.as_bytes();
    let is_read = parser.shapes.read(data, &mut [f64::NAN; 3]).is_some();
    assert_eq!(outcome(&mut parser, data), strictly(data), "{second}");
    is_read
}

#[test]
fn records_of_a_known_layout_are_read_by_it() {
    for second in [
        PLAIN.to_owned(),
        PLAIN
            .replace("AAPL", "BRK.B")
            .replace("185.64", "-0.000125"),
        PLAIN.replace("1200", "0").replace("a7", "another id"),
        PLAIN.replace("15:00:01.5Z", "15:00:01+00:00"),
        PLAIN.replace("1200", "1200.0"),
        PLAIN
            .replace("15:00:01.5", "23:59:59.987654")
            .replace("1200", "9999999"),
        PLAIN
            .replace("2024-01-02", "2023-12-31")
            .replace("a7", "b\u{7f}"),
        PLAIN.replace("185.64", "1234567.8901234"),
    ] {
        assert!(is_read_by_shape(PLAIN, &second), "{second}");
    }
}

#[test]
fn what_is_not_plain_is_left_to_the_strict_parser() {
    for second in [
        PLAIN.replace("185.64", "1.8564e2"),
        PLAIN.replace("185.64", "0.1234567890123456789"),
        PLAIN.replace("185.64", "0185.64"),
        PLAIN.replace("185.64", "185."),
        PLAIN.replace("185.64", "null"),
        PLAIN.replace("1200", "1200.5"),
        PLAIN.replace("AAPL", "\\u0041APL"),
        PLAIN.replace("AAPL", "ÄPFEL"),
        PLAIN.replace("AAPL", ""),
        PLAIN.replace("\"close\"", "\"clos\""),
        PLAIN.replace("\"odd\":null", "\"odd\":nul"),
        PLAIN.replace("15:00:01.5Z", "25:00:01Z"),
        format!("{PLAIN} "),
        format!(" {PLAIN}"),
        PLAIN.replace("\"high\":186", "\"high\":18 6"),
        PLAIN.replace("AAPL", "AP\"L"),
        PLAIN.replace("AAPL", "AP\\\\"),
        PLAIN.replace("AAPL", "AP\u{1}L"),
        PLAIN.replace("185.64", "18564 "),
        PLAIN.replace("185.64", "-085.64"),
        PLAIN.replace("185.64", "1e5.64"),
        PLAIN.replace("1200", "12e0"),
        PLAIN.replace("1200", "0200"),
        PLAIN.replace("1200", "12\u{0}0"),
        PLAIN.replace("15:00:01.5", "15:00:61.5"),
        PLAIN.replace("15:00:01.5", "15:00:01x5"),
        PLAIN.replace("2024-01-02T", "2024-02-30T"),
        PLAIN.replace("\"venue\"", "\"venuf\""),
        PLAIN.replace("null}", "null]"),
    ] {
        assert!(!is_read_by_shape(PLAIN, &second), "{second}");
        let mut parser = parser();
        parser.parse(PLAIN.as_bytes()).unwrap();
        assert_eq!(
            outcome(&mut parser, second.as_bytes()),
            strictly(second.as_bytes()),
            "{second}"
        );
    }
}

fn line_at(text: &[u8], at: usize) -> (std::ops::Range<usize>, usize) {
    let length = text[at..]
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(text.len() - at);
    let cut = usize::from(length > 0 && text[at + length - 1] == b'\r');
    (at..at + length - cut, at + length + 1)
}

#[test]
fn the_bytes_of_a_record_do_not_depend_on_what_was_learned() {
    for first in ["\r\r\n", "\r\n", "\n", " \r\n", "\r \n"] {
        let text = format!("{PLAIN}{first}{PLAIN}\r\n{PLAIN}\n{PLAIN}\r\n");
        let block = super::super::TickBlock::parse(&mut parser(), text.into(), line_at);
        for index in 1..4 {
            assert_eq!(
                block.data(index),
                PLAIN.as_bytes(),
                "{index} after {first:?}"
            );
        }
    }
}

#[test]
fn very_long_records_make_no_templates() {
    let mut parser = parser();
    for length in [10, 5_000] {
        let record = PLAIN.replace("XNAS", &"x".repeat(length));
        parser.parse(record.as_bytes()).unwrap();
        parser.parse(record.as_bytes()).unwrap();
    }
    assert_eq!(parser.shapes.templates.len(), 1);
}

/// A stream whose layout changes is learned anew, as often as it changes; one without a layout isn't learned from for ever.
#[test]
fn a_new_layout_is_learned() {
    let mut parser = parser();
    for round in 0..100 {
        let key = format!("\"k{round}\":1,\"close\"");
        let record = PLAIN.replace("\"close\"", &key);
        parser.parse(record.as_bytes()).unwrap();
        let before = parser.shapes.misses;
        parser.parse(record.as_bytes()).unwrap();
        assert!(parser.shapes.misses <= before, "round {round}");
        assert!(parser.shapes.shapes.len() <= MOST_SHAPES);
    }
    let mut learned = 0;
    for round in 0..10_000 {
        let key = format!("\"u{round}\":1,\"close\"");
        let first = parser
            .shapes
            .shapes
            .first()
            .map(|shape| std::ptr::from_ref(shape.end.bytes()));
        parser
            .parse(PLAIN.replace("\"close\"", &key).as_bytes())
            .unwrap();
        let now = parser
            .shapes
            .shapes
            .first()
            .map(|shape| std::ptr::from_ref(shape.end.bytes()));
        learned += usize::from(first != now);
    }
    assert!(learned <= 64 + 10_000 / 64 + 1, "learned {learned} times");
}

use super::MOST_SHAPES;

/// Values as they stand in JSON: plain ones, odd ones, and some that are no JSON.
fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (-1_000_000_000i64..1_000_000_000, 0usize..8).prop_map(|(digits, decimals)| {
            format!("{:.decimals$}", digits as f64 / 1e4)
        }),
        2 => any::<u64>().prop_map(|number| number.to_string()),
        2 => "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?",
        1 => "-?[0-9]{0,4}\\.?[0-9]{0,3}[eE]?[+-]?[0-9]?",
        1 => prop_oneof![Just("null"), Just("true"), Just("\"1\""), Just("[1]"), Just("-"), Just("{}")].prop_map(str::to_owned),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[A-Z.]{1,6}".prop_map(|text| format!("\"{text}\"")),
        1 => "\\PC{0,70}".prop_map(|text| serde_json::to_string(&text).unwrap()),
        1 => "[ -~\\x00-\\x1f]{0,6}".prop_map(|text| format!("\"{text}\"")),
        1 => number(),
    ]
}

fn time() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "\"2024-0[1-9]-[0-2][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?(Z|\\+00:00|)\"",
        1 => "\"(1[89]|20|29|30)[0-9]{2}-[01][0-9]-[0-3][0-9][T ][0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{0,10})?(Z|\\+01:00|)\"",
        1 => text(),
    ]
}

fn date() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "\"2024-[01][0-9]-[0-3][0-9]\"",
        1 => text(),
    ]
}

/// A record of one of a few layouts.
fn record() -> impl Strategy<Value = String> {
    let values = (
        text(),
        time(),
        date(),
        text(),
        number(),
        number(),
        text(),
        number(),
    );
    (values, 0usize..6, "[ \\t\\r\\n]{0,2}").prop_map(|(values, layout, space)| {
        let (ticker, time, date, id, close, volume, venue, high) = values;
        match layout {
            0 | 1 => format!(
                "{{\"ticker\":{ticker},\"timestamp\":{time},\"date\":{date},\"id\":{id},\"close\":{close},\"volume\":{volume},\"venue\":{venue},\"high\":{high}}}"
            ),
            2 => format!("{{\"close\":{close},{space}\"ticker\" :{ticker},\"timestamp\":{time},\"id\":{id}}}{space}"),
            3 => format!("{{\"id\":{id},\"ticker\":{ticker},\"timestamp\":{time},\"x\":{venue},\"x\":{high},\"close\":{close}}}"),
            4 => format!("{{\"ticker\":{ticker},\"id\":{id},\"close\":{close},\"close\":{high},\"timestamp\":{time}}}"),
            _ => format!("{{\"ticker\":{ticker},\"id\":{id},\"timestamp\":{time},\"nested\":{{\"a\":[{high}]}},\"volume\":{volume}}}"),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn whatever_was_learned_the_outcome_is_the_strict_parsers(records in proptest::collection::vec(record(), 1..12)) {
        let mut parser = parser();
        parser.parse(PLAIN.as_bytes()).unwrap();
        for record in &records {
            prop_assert_eq!(outcome(&mut parser, record.as_bytes()), strictly(record.as_bytes()), "{}", record);
        }
    }

    /// Damage of a byte or two in a record whose layout is known.
    #[test]
    fn a_damaged_record_is_judged_by_the_strict_parser(
        record in record(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..3), 1..3),
    ) {
        let mut parser = parser();
        parser.parse(PLAIN.as_bytes()).unwrap();
        // The first time the layout is learned, the second time the template.
        for _ in 0..2 {
            let _ = parser.parse(record.as_bytes());
        }
        let mut bytes = record.into_bytes();
        for (index, byte, how) in damage {
            let at = index.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
            if bytes.is_empty() {
                break;
            }
        }
        prop_assert_eq!(outcome(&mut parser, &bytes), strictly(&bytes), "{}", String::from_utf8_lossy(&bytes));
    }

    /// Records that are read together, of few lengths and some of them damaged: each gives what the strict parser gives, or is
    /// left to it.
    #[test]
    fn records_that_are_read_together_have_the_strict_parsers_outcome(
        records in proptest::collection::vec(together(), 1..150),
    ) {
        let lines: Vec<Vec<u8>> = records.iter().map(|(line, _)| line.clone()).collect();
        let mut parser = parser_without_ids();
        // The layouts and the templates of what is sound are learned from the text before.
        for text in [lines.join(&b'\n'), lines.join(&b"\r\n"[..])] {
            let block = TickBlock::parse(&mut parser, text.into(), line_at);
            prop_assert_eq!(block.len(), lines.len());
            for (index, (line, is_sound)) in records.iter().enumerate() {
                let data = block.data(index);
                prop_assert_eq!(&data[..], &line[..]);
                let mut strict = parser_without_ids();
                let expected = strict.parse(line).ok().map(|tick| (tick.ticker.to_string(), tick.event_time, tick.trade_date));
                let mut numbers = [0.0; 3];
                let found = block.tick(index, &mut numbers);
                let found = found.map(|tick| (tick.ticker.to_string(), tick.event_time, tick.trade_date));
                if *is_sound || found.is_some() {
                    prop_assert_eq!(&found, &expected, "{}", String::from_utf8_lossy(line));
                    let expected = strict.packed_numbers().iter().map(|number| number.to_bits());
                    prop_assert!(numbers.iter().map(|number| number.to_bits()).eq(expected), "{}", String::from_utf8_lossy(line));
                }
            }
        }
    }
}

proptest! {
    /// Lines that only together are as long as a record that is known, and differ from it by a line end.
    #[test]
    fn a_line_ends_where_it_ends_whatever_was_learned(
        records in proptest::collection::vec(together(), 1..40),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 1..6),
    ) {
        let lines: Vec<Vec<u8>> = records.into_iter().map(|(line, _)| line).collect();
        let mut text = lines.join(&b'\n');
        let mut learned = parser_without_ids();
        for _ in 0..2 {
            TickBlock::parse(&mut learned, text.clone().into(), line_at);
        }
        for cut in cuts {
            let at = cut.index(text.len());
            text[at] = b'\n';
        }
        let found = records_of(&mut learned, &text);
        let mut one_by_one = Vec::new();
        let mut at = 0;
        while at < text.len() {
            let (place, next) = line_at(&text, at);
            if !place.is_empty() {
                let data = text[place].to_vec();
                one_by_one.push((data.clone(), strict_tick(&data)));
            }
            at = next;
        }
        let places = |of: &[Record]| of.iter().map(|(data, _)| data.clone()).collect::<Vec<_>>();
        prop_assert_eq!(places(&found), places(&one_by_one));
        for ((data, found), (_, strict)) in found.iter().zip(&one_by_one) {
            prop_assert!(found.is_none() || found == strict, "{}", String::from_utf8_lossy(data));
        }
    }
}

/// The same by hand: a number, a text and the space between that hold a line end.
#[test]
fn two_lines_are_no_record() {
    let known =
        r#"{"ticker":"AAPL","timestamp":"2024-01-02T15:00:01Z","close":185.64,"venue":"XNAS"}"#;
    for (whole, cut) in [
        ("185.64", "\n85.64"),
        ("185.64", "185.6\n"),
        ("XNAS", "X\nAS"),
        ("AAPL", "AA\nL"),
    ] {
        let mut parser = parser_without_ids();
        let many = [known; 4].join("\n");
        TickBlock::parse(&mut parser, many.into(), line_at);
        let two = known.replace(whole, cut);
        for before in [0, 1, 7] {
            let text = [vec![known; before], vec![two.as_str(), known]]
                .concat()
                .join("\n");
            let found = records_of(&mut parser, text.as_bytes());
            assert_eq!(found.len(), before + 3, "{cut:?} after {before}");
            assert!(found[before].1.is_none() && found[before + 1].1.is_none());
            assert!(found[before + 2].1.is_some());
        }
    }
}

/// A record's bytes, and what it gives if it is a tick: ticker, time and numbers, bit for bit.
type Record = (Vec<u8>, Option<(String, i64, Vec<u64>)>);

fn records_of(parser: &mut TickParser, text: &[u8]) -> Vec<Record> {
    let block = TickBlock::parse(parser, text.to_vec().into(), line_at);
    let record = |index| {
        let mut numbers = [0.0; 3];
        let found = block.tick(index, &mut numbers);
        let found = found.map(|tick| (tick.ticker.to_string(), tick.event_time.0));
        let bits = numbers.iter().map(|number| number.to_bits()).collect();
        (
            block.data(index).to_vec(),
            found.map(|(ticker, at)| (ticker, at, bits)),
        )
    };
    (0..block.len()).map(record).collect()
}

fn strict_tick(data: &[u8]) -> Option<(String, i64, Vec<u64>)> {
    let mut strict = parser_without_ids();
    let (ticker, at) = strict
        .parse(data)
        .ok()
        .map(|tick| (tick.ticker.to_string(), tick.event_time.0))?;
    let bits = strict
        .packed_numbers()
        .iter()
        .map(|number| number.to_bits())
        .collect();
    Some((ticker, at, bits))
}

fn parser_without_ids() -> TickParser {
    let keys = ["close", "volume", "high"].map(str::to_owned);
    TickParser::new(&RecordMapping::default(), &keys)
}

/// A line of one of a few layouts and lengths, and whether it was left as it was made.
fn together() -> impl Strategy<Value = (Vec<u8>, bool)> {
    let ticker = prop::sample::select(vec!["A", "BRK.B", "AAPL", "MSFT", "ABCDEFGH", "ABCDEFGHI"]);
    let second = "[0-5][0-9]";
    let form = prop::sample::select(vec![
        "Z",
        ".125Z",
        ".123456Z",
        "",
        ".1Z",
        "+00:00",
        ".123456+00:00",
        ".5-05:00",
    ]);
    let date = prop::sample::select(vec!["2024-01-02", "2024-02-29"]);
    let numbers = (
        "[1-9][0-9]{2}\\.[0-9]{2}",
        "[1-9][0-9]{1,2}",
        "-?[1-9]\\.[0-9]",
    );
    let damage = prop::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>()));
    (ticker, second, form, date, numbers, any::<bool>(), damage).prop_map(
        |(ticker, second, form, date, (close, volume, high), other, damage)| {
            let at = format!("{date}T15:0{}:{second}{form}", second.len());
            let line = match other {
                false => format!("{{\"ticker\":\"{ticker}\",\"timestamp\":\"{at}\",\"date\":\"{date}\",\"close\":{close},\"volume\":{volume},\"high\":{high},\"venue\":\"X\",\"open\":1}}"),
                true => format!("{{\"timestamp\":\"{at}\",\"low\":{high}, \"close\":{close},\"ticker\":\"{ticker}\"}}"),
            };
            let mut line = line.into_bytes();
            let mut is_sound = true;
            if let Some((index, byte)) = damage
                && !matches!(byte, b'\n' | b'\r')
            {
                let at = index.index(line.len());
                is_sound = line[at] == byte;
                line[at] = byte;
            }
            (line, is_sound)
        },
    )
}
