//! The commit protocol under crashes, lost requests and replies, and several owners at once: random schedules of the
//! real state machine against a model store. Whatever happens, the files hold each row of an undisturbed run exactly
//! once, and a published file never has to change.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use stockstream_core::chain::{Action, Created, Identity, Pace, ShardChain};
use stockstream_core::checkpoint::Checkpoint;
use stockstream_core::codec;
use stockstream_core::hash::HashRange;
use stockstream_core::plan::Plan;
use stockstream_core::row::{Batch, Row};
use stockstream_core::sequence::{Position, SequenceNumber};
use stockstream_core::state::RecordMeta;
use stockstream_core::time::{Micros, Monotonic};

const T0: i64 = 1_704_207_600_000_000;

fn first_state() -> Checkpoint {
    Checkpoint::before_first("s", "k1", "shard-0", HashRange::ALL, Position::TrimHorizon)
}

fn identity(owner: usize) -> Identity {
    Identity {
        state_id: "s".into(),
        incarnation: "k1".into(),
        shard: "shard-0".into(),
        owner: format!("worker-{owner}"),
        writer: "test".into(),
        since: Micros(0),
        format: 1,
    }
}

fn take(owner: usize, newest: Checkpoint, now: Monotonic) -> ShardChain {
    let pace = Pace {
        commit_interval: 3,
        publish_interval: 5,
        max_outbox: 2_000,
        ..Pace::default()
    };
    ShardChain::take(
        identity(owner),
        Arc::new(Plan::default()),
        pace,
        newest,
        now,
    )
    .unwrap()
}

/// Ticks of three tickers, `seconds` apart in event time, some of them late or unusable.
fn ticks(steps: &[(u8, i8)]) -> Vec<(RecordMeta, Bytes)> {
    let mut clock = T0;
    let mut ticks = Vec::new();
    for (index, (ticker, seconds)) in steps.iter().enumerate() {
        clock += i64::from(*seconds) * 1_000_000;
        let at = Micros(clock);
        let json = match ticker {
            3 => "not json".to_owned(),
            _ => format!(r#"{{"ticker":"T{ticker}","timestamp":"{at}","close":{index}}}"#),
        };
        let meta = RecordMeta {
            sequence: SequenceNumber::from(index as u64 + 1),
            arrival: at.plus(60_000_000),
        };
        ticks.push((meta, Bytes::from(json)));
    }
    ticks
}

/// What the store holds: the chain, and the files by the version that sealed them.
#[derive(Default)]
struct Store {
    chain: BTreeMap<u64, Bytes>,
    files: BTreeMap<u64, Batch>,
}

impl Store {
    fn create(&mut self, version: u64, bytes: &Bytes) -> Created {
        let stored = self.chain.entry(version).or_insert_with(|| bytes.clone());
        match stored == bytes {
            true => Created::Ours,
            false => Created::Others,
        }
    }

    fn publish(&mut self, batch: &Batch) {
        let file = self
            .files
            .entry(batch.version)
            .or_insert_with(|| batch.clone());
        assert_eq!(file, batch, "a published batch was regrouped");
    }

    fn newest(&self) -> Checkpoint {
        match self.chain.last_key_value() {
            Some((_, bytes)) => codec::decode(bytes).unwrap(),
            None => first_state(),
        }
    }

    /// Rows, late ticks and dead letters of all files, each once.
    fn contents(&self) -> (Vec<Row>, Vec<SequenceNumber>, Vec<SequenceNumber>) {
        let files = self.files.values();
        let mut rows: Vec<Row> = files
            .clone()
            .flat_map(|batch| batch.rows.to_vec())
            .collect();
        rows.sort_by(|a, b| (&a.ticker, a.window_start).cmp(&(&b.ticker, b.window_start)));
        for pair in rows.windows(2) {
            let keys = [&pair[0], &pair[1]].map(|row| (&row.ticker, row.window_start));
            assert_ne!(keys[0], keys[1], "a row was published twice");
        }
        let late = files
            .clone()
            .flat_map(|batch| &batch.late)
            .map(|late| late.sequence.clone());
        let dead = files
            .flat_map(|batch| &batch.dead)
            .map(|dead| dead.sequence.clone());
        let (mut late, mut dead): (Vec<_>, Vec<_>) = (late.collect(), dead.collect());
        late.sort();
        dead.sort();
        (rows, late, dead)
    }
}

/// The index of the tick with which the position says to go on.
fn next_index(chain: &ShardChain) -> usize {
    match chain.state().position() {
        Position::After(sequence) => sequence.to_string().parse().unwrap(),
        _ => 0,
    }
}

/// What happens to an action's request and reply.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    RequestLost,
    ReplyLost,
    Fine,
}

/// Carries out one action.
fn carry_out(store: &mut Store, chain: &mut ShardChain, now: Monotonic, fate: Fate) {
    let action = chain.poll(now).unwrap();
    if fate == Fate::RequestLost {
        return;
    }
    let replied = fate == Fate::Fine;
    match action {
        None => {}
        Some(Action::Create { version, bytes }) => {
            let created = store.create(version, &bytes);
            if replied {
                chain.created(created);
            }
        }
        Some(Action::ListAfter { version }) => {
            let above = store.chain.range(version + 1..).next_back();
            if replied {
                chain.listed(above.map(|(above, _)| *above));
            }
        }
        Some(Action::Publish { batch }) => {
            store.publish(&batch);
            if replied {
                chain.published(1, []);
            }
        }
    }
}

/// One owner, undisturbed: reads everything, closes every window, publishes. Returns the ticks counted by the chain.
fn run_to_the_end(store: &mut Store, ticks: &[(RecordMeta, Bytes)], mut now: Monotonic) -> u64 {
    let mut chain = take(9, store.newest(), now);
    while !chain.is_done() {
        now = now.plus(1);
        assert!(now.0 < 1_000_000, "no progress");
        carry_out(store, &mut chain, now, Fate::Fine);
        if chain.wants_records() {
            match ticks.get(next_index(&chain)) {
                Some((meta, data)) => {
                    chain.apply(meta, data, now);
                }
                None => chain.end_of_input(),
            }
        }
        assert_eq!(chain.fenced_by(), None);
    }
    chain.state().counters().ticks
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_schedule_gives_the_rows_of_an_undisturbed_run(
        steps in proptest::collection::vec((0u8..4, -40i8..90), 0..120),
        schedule in proptest::collection::vec((0usize..3, 0u8..12, 0u8..6), 0..400),
    ) {
        let ticks = ticks(&steps);
        let mut undisturbed = Store::default();
        let counted = run_to_the_end(&mut undisturbed, &ticks, Monotonic(0));

        let mut store = Store::default();
        let mut owners: [Option<ShardChain>; 3] = [None, None, None];
        let mut epochs: Vec<u64> = Vec::new();
        let mut now = Monotonic(0);
        for (owner, what, number) in schedule {
            now = now.plus(1);
            let fate = [Fate::RequestLost, Fate::ReplyLost, Fate::Fine][usize::from(number.min(2))];
            match (&mut owners[owner], what) {
                (slot @ None, _) => *slot = Some(take(owner, store.newest(), now)),
                (slot, 0) => *slot = None,
                (Some(chain), 1..=5) => carry_out(&mut store, chain, now, fate),
                (Some(chain), _) => {
                    for _ in 0..=number {
                        if chain.wants_records() && let Some((meta, data)) = ticks.get(next_index(chain)) {
                            chain.apply(meta, data, now);
                        }
                    }
                }
            }
            // A fenced owner drops its shard.
            if owners[owner].as_ref().is_some_and(|chain| chain.fenced_by().is_some()) {
                owners[owner] = None;
            }
            epochs.push(store.newest().epoch);
        }
        let recounted = run_to_the_end(&mut store, &ticks, now);
        prop_assert_eq!(store.contents(), undisturbed.contents());
        prop_assert_eq!(recounted, counted);
        prop_assert!(epochs.is_sorted(), "an epoch went back");
    }
}

#[test]
fn a_take_is_fenced_by_a_version_above_it_even_if_its_own_create_won() {
    let mut chain = take(0, first_state(), Monotonic(0));
    let action = chain.poll(Monotonic(0)).unwrap();
    assert!(matches!(action, Some(Action::Create { version: 1, .. })));
    chain.created(Created::Ours);
    let action = chain.poll(Monotonic(0)).unwrap();
    assert_eq!(action, Some(Action::ListAfter { version: 1 }));
    chain.listed(Some(7));
    assert_eq!(chain.fenced_by(), Some(7));
    assert_eq!(chain.poll(Monotonic(100)).unwrap(), None);
    assert!(!chain.wants_records());
}

#[test]
fn a_doubted_chain_is_listed_before_anything_else_and_goes_on_when_it_is_still_ours() {
    let mut store = Store::default();
    let mut chain = take(0, first_state(), Monotonic(0));
    for _ in 0..3 {
        carry_out(&mut store, &mut chain, Monotonic(0), Fate::Fine);
    }
    let version = chain.version();
    let (meta, data) = &ticks(&[(0, 0)])[0];
    chain.apply(meta, data, Monotonic(0));
    for above in [None, Some(version + 1)] {
        chain.doubt();
        let action = chain.poll(Monotonic(100)).unwrap();
        assert_eq!(action, Some(Action::ListAfter { version }));
        assert!(chain.is_doubted());
        chain.listed(above);
        assert!(!chain.is_doubted());
        assert_eq!((chain.fenced_by(), chain.version()), (above, version));
        if above.is_none() {
            assert!(chain.wants_records());
        }
    }
    assert!(!chain.wants_records());
    assert_eq!(chain.poll(Monotonic(200)).unwrap(), None);
}

#[test]
fn bytes_are_the_same_until_the_outcome_is_known() {
    let mut chain = take(0, first_state(), Monotonic(0));
    let first = chain.poll(Monotonic(0)).unwrap();
    assert_eq!(chain.poll(Monotonic(99)).unwrap(), first);
}

#[test]
fn reading_begins_when_the_take_stands_and_what_was_recovered_goes_out_first() {
    let mut store = Store::default();
    let mut chain = take(0, first_state(), Monotonic(0));
    for _ in 0..3 {
        carry_out(&mut store, &mut chain, Monotonic(0), Fate::Fine);
    }
    for (meta, data) in &ticks(&[(0, 0), (3, 0)]) {
        chain.apply(meta, data, Monotonic(0));
    }
    // Committed with the dead letter sealed, but not published: then the owner dies.
    chain.finish();
    for _ in 0..2 {
        carry_out(&mut store, &mut chain, Monotonic(1), Fate::Fine);
    }
    assert_eq!(store.newest().outbox.len(), 1);
    assert!(store.files.is_empty());
    let mut heir = take(1, store.newest(), Monotonic(2));
    carry_out(&mut store, &mut heir, Monotonic(2), Fate::Fine);
    assert!(!heir.wants_records(), "created, but not known to be newest");
    carry_out(&mut store, &mut heir, Monotonic(2), Fate::Fine);
    assert!(heir.wants_records() && heir.is_recovering());
    assert!(matches!(
        heir.poll(Monotonic(2)).unwrap(),
        Some(Action::Publish { .. })
    ));
    carry_out(&mut store, &mut heir, Monotonic(2), Fate::Fine);
    assert_eq!(store.files.len(), 1);
    heir.poll(Monotonic(2)).unwrap();
    assert!(!heir.is_recovering());
    assert!(heir.epoch() > chain.epoch());
}

#[test]
fn a_release_commits_and_leaves_sealing_and_publishing_to_the_successor() {
    let mut store = Store::default();
    let mut chain = take(0, first_state(), Monotonic(0));
    for _ in 0..3 {
        carry_out(&mut store, &mut chain, Monotonic(0), Fate::Fine);
    }
    for (meta, data) in &ticks(&[(0, 0), (3, 0)]) {
        chain.apply(meta, data, Monotonic(0));
    }
    chain.release();
    assert!(!chain.wants_records() && !chain.is_done());
    for _ in 0..2 {
        carry_out(&mut store, &mut chain, Monotonic(1), Fate::Fine);
    }
    assert!(chain.is_done() && chain.poll(Monotonic(1)).unwrap().is_none());
    assert!(store.newest().outbox.is_empty() && !store.newest().unsealed.is_empty());
    let mut heir = take(1, store.newest(), Monotonic(2));
    for _ in 0..2 {
        carry_out(&mut store, &mut heir, Monotonic(2), Fate::Fine);
    }
    assert!(heir.wants_records());
    assert_eq!(store.newest().outbox.len(), 1);
}

#[test]
fn a_held_chain_reads_and_commits_nothing_until_it_is_let_go() {
    let mut store = Store::default();
    let mut chain = take(0, first_state(), Monotonic(0));
    for _ in 0..3 {
        carry_out(&mut store, &mut chain, Monotonic(0), Fate::Fine);
    }
    for (meta, data) in &ticks(&[(0, 0), (3, 0)]) {
        chain.apply(meta, data, Monotonic(0));
    }
    chain.hold(true);
    let late = Monotonic(3_600_000_000);
    assert!(!chain.wants_records() && chain.deadline().is_none());
    assert_eq!(chain.poll(late).unwrap(), None);
    chain.hold(false);
    assert!(chain.wants_records());
    assert!(matches!(
        chain.poll(late).unwrap(),
        Some(Action::Create { .. })
    ));
}

#[test]
fn unpublished_bytes_above_the_limit_seal_at_once_and_reading_waits() {
    let mut store = Store::default();
    let mut chain = take(0, first_state(), Monotonic(0));
    for _ in 0..3 {
        carry_out(&mut store, &mut chain, Monotonic(0), Fate::Fine);
    }
    let mut applied = 0;
    for (meta, data) in &ticks(&[(3, 0); 100]) {
        if chain.wants_records() {
            chain.apply(meta, data, Monotonic(0));
            applied += 1;
        }
    }
    assert!(applied < 20, "{applied}");
    for _ in 0..3 {
        assert!(!chain.wants_records());
        carry_out(&mut store, &mut chain, Monotonic(0), Fate::Fine);
    }
    assert_eq!(store.files.len(), 1);
    assert!(chain.wants_records());
}

#[test]
fn what_goes_out_at_once_is_due_at_once() {
    let now = Monotonic(5);
    let settled = |pressed: bool| {
        let mut store = Store::default();
        let mut chain = take(0, first_state(), now);
        carry_out(&mut store, &mut chain, now, Fate::Fine);
        carry_out(&mut store, &mut chain, now, Fate::Fine);
        assert_eq!(chain.poll(now).unwrap(), None);
        for (index, (meta, data)) in ticks(&[(3, 0); 100]).iter().enumerate() {
            if chain.wants_records() && (pressed || index < 2) {
                chain.apply(meta, data, now);
            }
            if index == 0 {
                // The first record read is committed at once.
                carry_out(&mut store, &mut chain, now, Fate::Fine);
                carry_out(&mut store, &mut chain, now, Fate::Fine);
            }
        }
        chain
    };
    let waits = settled(false);
    assert!(waits.deadline() > Some(now), "{:?}", waits.deadline());

    let under_pressure = settled(true);
    assert!(under_pressure.is_under_back_pressure());
    let mut finishing = settled(false);
    finishing.finish();
    let mut ended = settled(false);
    ended.end_of_input();
    for mut chain in [under_pressure, finishing, ended] {
        let due = chain.deadline();
        assert!(due.is_some_and(|due| due <= now), "{due:?}");
        assert!(chain.poll(now).unwrap().is_some());
    }
}

#[test]
fn an_older_format_is_written_at_once_and_a_newer_one_with_the_next_change() {
    let mut store = Store::default();
    let mut chain = take(0, first_state(), Monotonic(0));
    let settle = |store: &mut Store, chain: &mut ShardChain, now| {
        for _ in 0..3 {
            carry_out(store, chain, now, Fate::Fine);
        }
        let newest = store.chain.last_key_value().unwrap();
        (*newest.0, codec::format_of(newest.1))
    };
    let (version, format) = settle(&mut store, &mut chain, Monotonic(0));
    assert_eq!(format, Some(1));

    chain.set_format(2);
    let later = Monotonic(1_000);
    assert_eq!(
        settle(&mut store, &mut chain, later),
        (version, Some(1)),
        "nothing changed: there is no reason to write"
    );
    for (meta, data) in &ticks(&[(0, 0)]) {
        chain.apply(meta, data, later);
    }
    let (raised, format) = settle(&mut store, &mut chain, Monotonic(2_000));
    assert!(raised > version);
    assert_eq!(format, Some(2));

    chain.set_format(1);
    let (lowered, format) = settle(&mut store, &mut chain, Monotonic(3_000));
    assert!(
        lowered > raised,
        "somebody has joined who can't read the newest version"
    );
    assert_eq!((format, chain.head().format), (Some(1), 1));
}

#[test]
fn another_pipelines_checkpoint_is_refused() {
    let mut foreign = first_state();
    foreign.state_id = "other".into();
    let plan = Arc::new(Plan::default());
    let taken = ShardChain::take(identity(0), plan, Pace::default(), foreign, Monotonic(0));
    assert!(taken.unwrap_err().to_string().contains("state other"));
}
