#![allow(clippy::unwrap_used)]
use proptest::prelude::*;

use super::*;
use crate::plan::{Function, Limits};
use crate::testing::empty_checkpoint;

const START: i64 = 1_704_206_400_000_000;

/// The same as one line each, in the order of the ticks.
fn lines() -> impl Strategy<Value = Vec<String>> {
    let ticker = prop::sample::select(vec!["A", "B", "ABCDEFGHIJ", "D", "Ä"]);
    let close = prop::sample::select(vec!["1", "2.5", "-3.25", "null", "1e2"]);
    let odd = prop::sample::select(vec!["{}", "nonsense", "{\"ticker\":\"A\",\"timestamp\":3}"]);
    let tick = (ticker, -30i64..30, close, any::<bool>());
    let line = prop_oneof![12 => tick.prop_map(Ok), 1 => odd.prop_map(Err)];
    prop::collection::vec(line, 1..120).prop_map(|lines| {
        let mut at = START;
        let lines = lines.into_iter().map(|line| match line {
            Err(odd) => odd.to_owned(),
            Ok((ticker, step, close, dated)) => {
                at += step * 1_000_000;
                let date = if dated {
                    "\"date\":\"2024-01-02\","
                } else {
                    ""
                };
                let volume = match at % 3_000_000 {
                    0 => "null".to_owned(),
                    _ => (at % 7_000_000 / 1_000_000).to_string(),
                };
                let at = Micros(at);
                format!(
                    "{{\"ticker\":\"{ticker}\",{date}\"timestamp\":\"{at}\",\"close\":{close},\"volume\":{volume}}}"
                )
            }
        });
        lines.collect()
    })
}

const FUNCTIONS: [Function; 9] = [
    Function::Avg,
    Function::Vwap,
    Function::Sum,
    Function::Min,
    Function::Max,
    Function::First,
    Function::Last,
    Function::Count,
    Function::Stddev,
];

fn plan(max_ahead: MaxAhead, open_windows: usize) -> Arc<Plan> {
    let plan = Plan {
        keyed_by_ticker: false,
        window_size: 20_000_000,
        watermark_delay: 15_000_000,
        max_ahead,
        limits: Limits {
            open_windows,
            ..Limits::default()
        },
        aggregates: FUNCTIONS
            .map(|function| Aggregate {
                name: format!("{function:?}"),
                function,
                field: "close".into(),
            })
            .to_vec(),
        ..Plan::default()
    };
    Arc::new(plan)
}

fn line_at(text: &[u8], at: usize) -> (std::ops::Range<usize>, usize) {
    let length = text[at..].iter().position(|byte| *byte == b'\n');
    let end = length.map_or(text.len(), |length| at + length);
    (at..end, end + 1)
}

fn checkpoint(state: &ShardState) -> Checkpoint {
    let mut checkpoint = empty_checkpoint();
    state.write_to(&mut checkpoint);
    checkpoint
}

proptest! {
    #[test]
    fn parsed_ahead_or_in_its_turn_a_record_has_the_same_fate(
        lines in lines(),
        most in 1usize..60,
        is_bounded in any::<bool>(),
        open_windows in prop::sample::select(vec![3usize, 1_000]),
    ) {
        let arrival = Micros(START);
        let max_ahead = match is_bounded {
            true => MaxAhead::Micros(60_000_000),
            false => MaxAhead::Unbounded,
        };
        let plan = plan(max_ahead, open_windows);
        let restore = || ShardState::restore(plan.clone(), &empty_checkpoint(), Monotonic(0)).unwrap();
        let (mut ahead, mut in_turn) = (restore(), restore());

        let text = Bytes::from(lines.join("\n"));
        let block = TickBlock::parse(&mut ahead.parser(), text, line_at);
        let mut records = ParsedRecords::new(block, 1, arrival, 0);
        let (mut applied, now) = (0, Monotonic(7));
        while !records.is_done() {
            let before = records.left();
            ahead.apply_parsed(&mut records, most, now);
            for _ in records.left()..before {
                let meta = RecordMeta { sequence: SequenceNumber::from(applied as u64 + 1), arrival };
                in_turn.apply(&meta, &Bytes::from(lines[applied].clone()), now);
                applied += 1;
            }
            prop_assert!(records.left() < before && before - records.left() <= most);
            prop_assert_eq!(checkpoint(&ahead), checkpoint(&in_turn));
        }
        ahead.close_all_windows();
        in_turn.close_all_windows();
        prop_assert_eq!(checkpoint(&ahead), checkpoint(&in_turn));
    }
}
