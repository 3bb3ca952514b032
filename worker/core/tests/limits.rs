//! Bounds of a shard, and ticks that try to hurt.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use bytes::Bytes;
use stockstream_core::checkpoint::Checkpoint;
use stockstream_core::codec::{decode, encode};
use stockstream_core::hash::HashRange;
use stockstream_core::lineage::{
    Author, ShardInfo, StartRule, choose_roots, first_version_of_root,
};
use stockstream_core::plan::{Limits, MAX_TICK_BYTES, MaxAhead, Plan, RecordMapping};
use stockstream_core::row::{DeadLetter, DeadReason};
use stockstream_core::state::{Applied, RecordMeta, ShardState};
use stockstream_core::time::{Micros, Monotonic};

const START: i64 = 1_704_207_600_000_000; // 2024-01-02T15:00:00Z
const SECOND: i64 = 1_000_000;

fn plan(limits: Limits, id: Option<&str>) -> Plan {
    Plan {
        limits,
        record: RecordMapping {
            id: id.map(Into::into),
            ..RecordMapping::default()
        },
        ..Plan::default()
    }
}

fn first_version(range: HashRange) -> Checkpoint {
    let listing = [ShardInfo {
        id: "s".into(),
        range,
        parents: vec![],
        closed: false,
    }];
    let roots = choose_roots(StartRule::TrimHorizon, &listing, &[], 0).unwrap();
    let author = Author {
        state_id: "5f2c".into(),
        incarnation: "k1".into(),
        owner: "test".into(),
        writer: "0.0.0".into(),
        window_size: 60 * SECOND,
    };
    first_version_of_root(&author, &roots, "s").unwrap()
}

struct Shard {
    plan: Arc<Plan>,
    state: ShardState,
    next: u64,
}

impl Shard {
    fn new(plan: Plan) -> Self {
        Self::within(plan, HashRange::ALL)
    }

    fn within(plan: Plan, range: HashRange) -> Self {
        let plan = Arc::new(plan);
        let state = ShardState::restore(plan.clone(), &first_version(range), Monotonic(0)).unwrap();
        Shard {
            plan,
            state,
            next: 1,
        }
    }

    fn bytes(&mut self, data: impl Into<Bytes>, arrival: i64) -> Applied {
        let meta = RecordMeta {
            sequence: self.next.into(),
            arrival: Micros(arrival),
        };
        self.next += 1;
        self.state.apply(&meta, &data.into(), Monotonic(0))
    }

    /// A tick of `ticker`, `seconds` after the start.
    fn tick(&mut self, ticker: &str, seconds: i64, id: &str) -> Applied {
        let at = START + seconds * SECOND;
        let json = serde_json::json!({"ticker": ticker, "timestamp": Micros(at).to_string(), "close": 1.5, "id": id});
        self.bytes(json.to_string(), at)
    }

    /// Through stored bytes, as after a crash.
    fn restart(&mut self) {
        let mut checkpoint = first_version(HashRange::ALL);
        self.state.write_to(&mut checkpoint);
        let read = decode(&encode(&checkpoint).unwrap()).unwrap();
        self.state = ShardState::restore(self.plan.clone(), &read, Monotonic(0)).unwrap();
    }

    fn last_dead(&self) -> &DeadLetter {
        self.state.unsealed().dead.last().unwrap()
    }
}

fn small() -> Limits {
    Limits {
        tickers: 2,
        open_windows: 3,
        ids: 4,
    }
}

#[test]
fn a_ticker_beyond_the_limit_is_a_dead_letter_and_known_ones_go_on() {
    let mut shard = Shard::new(plan(small(), None));
    assert_eq!(shard.tick("A", 0, ""), Applied::Counted);
    assert_eq!(shard.tick("B", 0, ""), Applied::Counted);
    shard.restart();
    assert_eq!(
        shard.tick("C", 0, ""),
        Applied::Dead(DeadReason::TooManyTickers)
    );
    assert!(shard.last_dead().detail.contains("2 tickers"));
    assert_eq!(shard.tick("A", 1, ""), Applied::Counted);
    assert_eq!(shard.state.latest().len(), 2);
    assert_eq!(shard.state.counters().dead[&DeadReason::TooManyTickers], 1);
}

#[test]
fn open_windows_beyond_the_limit_are_dead_letters_until_one_closes() {
    let mut shard = Shard::new(plan(small(), None));
    for minute in 0..3 {
        assert_eq!(shard.tick("A", minute * 60, ""), Applied::Counted);
    }
    assert_eq!(shard.state.open_windows(), 3);
    shard.restart();
    assert_eq!(
        shard.tick("B", 125, ""),
        Applied::Dead(DeadReason::TooManyWindows)
    );
    // A window that is open takes on; the watermark reaches 15:01 and closes one.
    assert_eq!(shard.tick("A", 179, ""), Applied::Counted);
    assert_eq!(shard.state.open_windows(), 3);
    assert_eq!(
        shard.tick("A", 180, ""),
        Applied::Dead(DeadReason::TooManyWindows)
    );
    shard
        .state
        .observe_empty_tip(Monotonic(31 * SECOND), Micros(START));
    assert_eq!(shard.state.open_windows(), 2);
    assert_eq!(shard.tick("B", 180, ""), Applied::Counted);
}

#[test]
fn a_tick_that_closes_no_window_never_counts_beyond_the_limit() {
    let mut shard = Shard::new(plan(small(), None));
    for index in 0..500 {
        shard.tick(["A", "B", "C"][index % 3], (index as i64 * 37) % 4_000, "");
        assert!(shard.state.open_windows() <= 3);
        assert!(shard.state.latest().len() <= 2);
    }
}

#[test]
fn ids_beyond_the_limit_are_dead_letters_until_their_window_closes() {
    let limits = Limits {
        ids: 3,
        ..Limits::default()
    };
    let mut shard = Shard::new(plan(limits, Some("id")));
    for id in ["1", "2", "3"] {
        assert_eq!(shard.tick("A", 0, id), Applied::Counted);
    }
    assert_eq!(shard.tick("A", 1, "2"), Applied::Duplicate);
    shard.restart();
    assert_eq!(shard.tick("A", 1, "3"), Applied::Duplicate);
    assert_eq!(
        shard.tick("A", 1, "4"),
        Applied::Dead(DeadReason::TooManyIds)
    );
    assert_eq!(
        shard.tick("B", 1, "1"),
        Applied::Dead(DeadReason::TooManyIds)
    );
    shard.state.close_all_windows();
    assert_eq!(shard.tick("A", 61, "2"), Applied::Counted);
    assert_eq!(shard.state.unsealed().rows.to_vec()[0].ticks, 3);
}

#[test]
fn the_largest_tick_counts_and_a_larger_one_is_kept_whole_as_a_dead_letter() {
    let tick = |size: usize| {
        let head = r#"{"ticker":"A","timestamp":"2024-01-02T15:00:00Z","close":1,"pad":""#;
        format!("{head}{}\"}}", "x".repeat(size - head.len() - 2))
    };
    let mut shard = Shard::new(plan(Limits::default(), None));
    assert_eq!(shard.bytes(tick(MAX_TICK_BYTES), START), Applied::Counted);
    let larger = tick(MAX_TICK_BYTES + 1);
    assert_eq!(
        shard.bytes(larger.clone(), START),
        Applied::Dead(DeadReason::TooLarge)
    );
    assert_eq!(shard.last_dead().data, larger.as_bytes());
    assert!(shard.state.unsealed_bytes() > MAX_TICK_BYTES);
    shard.restart();
    assert_eq!(shard.last_dead().data, larger.as_bytes());
}

#[test]
fn hostile_tickers_are_kept_apart_byte_by_byte_or_refused() {
    let mut shard = Shard::new(plan(Limits::default(), None));
    let longest = "x".repeat(64);
    let sound = [
        "A/B",
        "..",
        ".",
        "../../etc/passwd",
        " ",
        "A B",
        "A=B",
        "ticker=A",
        "%2F",
        "Ä",
        "A\u{308}",
        "株式",
        "\u{0}",
        "\n",
        "\"",
        "\\",
        "a",
        "A",
        "null",
        "__HIVE_DEFAULT_PARTITION__",
        "\u{202e}A",
        "🚀",
        &longest,
    ];
    for ticker in sound {
        assert_eq!(shard.tick(ticker, 0, ""), Applied::Counted, "{ticker:?}");
    }
    shard.restart();
    for ticker in ["", &"x".repeat(65), &"x".repeat(10_000), &"é".repeat(33)] {
        assert_eq!(
            shard.tick(ticker, 0, ""),
            Applied::Dead(DeadReason::InvalidField),
            "{ticker:?}"
        );
        assert!(shard.last_dead().detail.len() < 400);
    }
    shard.state.close_all_windows();
    let rows = shard.state.unsealed().rows.to_vec();
    let mut expected = sound.to_vec();
    expected.sort_unstable();
    assert_eq!(
        rows.iter()
            .map(|row| row.ticker.as_ref())
            .collect::<Vec<_>>(),
        expected
    );
}

#[test]
fn a_tick_from_2099_closes_no_window() {
    let mut shard = Shard::new(plan(Limits::default(), None));
    shard.tick("A", 0, "");
    let far = r#"{"ticker":"A","timestamp":"2099-01-01T00:00:00Z","close":1}"#;
    assert_eq!(
        shard.bytes(far, START),
        Applied::Dead(DeadReason::AheadOfTime)
    );
    assert_eq!(shard.state.watermark(), Some(Micros(START - 120 * SECOND)));
    // Just within the bound it counts, but moves the watermark no further than its arrival.
    let near = r#"{"ticker":"A","timestamp":"2024-01-02T15:02:00Z","close":1}"#;
    assert_eq!(shard.bytes(near, START), Applied::Counted);
    assert_eq!(shard.state.watermark(), Some(Micros(START - 120 * SECOND)));
    // Far past is only late, once there is a watermark.
    let past = r#"{"ticker":"A","timestamp":"1900-01-01T00:00:00Z","close":1}"#;
    assert_eq!(shard.bytes(past, START), Applied::Late);
}

#[test]
fn the_ends_of_time_do_not_overflow() {
    let mut shard = Shard::new(Plan {
        max_ahead: MaxAhead::Unbounded,
        watermark_delay: i64::MAX,
        ..plan(Limits::default(), None)
    });
    for at in ["1900-01-01T00:00:00Z", "2999-12-31T23:59:59.999999Z"] {
        let json = format!(r#"{{"ticker":"A","timestamp":"{at}","close":1}}"#);
        assert_eq!(shard.bytes(json.clone(), i64::MIN), Applied::Counted);
        assert_eq!(shard.bytes(json, i64::MAX), Applied::Counted);
    }
    shard
        .state
        .observe_empty_tip(Monotonic(i64::MAX), Micros(i64::MAX));
    shard.state.close_all_windows();
    assert_eq!(shard.state.open_windows(), 0);
}

#[test]
fn a_ticker_of_another_shards_keys_is_a_dead_letter() {
    // md5("AAPL") begins with 8b: the upper half.
    let lower = HashRange::new(0, u128::MAX / 2).unwrap();
    let mut shard = Shard::within(plan(Limits::default(), None), lower);
    assert_eq!(
        shard.tick("AAPL", 0, ""),
        Applied::Dead(DeadReason::WrongShard)
    );
    assert_eq!(shard.state.latest(), []);
}
