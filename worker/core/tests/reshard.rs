//! Reshards against one undivided shard: whatever splits, merges, restarts and new lives a stream goes through, and in
//! whatever order workers get to its shards, every window gives the row that it would have given without them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use stockstream_core::checkpoint::Checkpoint;
use stockstream_core::codec::{decode, encode};
use stockstream_core::hash::{HashRange, key_hash};
use stockstream_core::lineage::{
    Author, Decision, Head, Roots, ShardInfo, StartRule, choose_roots, coverage,
    first_version_after_recreation, first_version_of_child, first_version_of_root, plan,
    plan_end_of_incarnation,
};
use stockstream_core::plan::{MaxAhead, Plan};
use stockstream_core::row::{LateTick, Row};
use stockstream_core::sequence::Position;
use stockstream_core::state::{RecordMeta, ShardState};
use stockstream_core::time::{Micros, Monotonic};

const SECOND: i64 = 1_000_000;
const START: i64 = 1_704_207_600 * SECOND; // 2024-01-02T15:00:00Z
const WINDOW: i64 = 10 * SECOND;
const DELAY: i64 = 40 * SECOND;
const TICKERS: [&str; 10] = [
    "AAPL", "MSFT", "GOOG", "AMZN", "TSLA", "META", "NFLX", "NVDA", "é", "BRK.B",
];
const NOW: Monotonic = Monotonic(0);

fn pipeline() -> Arc<Plan> {
    Arc::new(Plan {
        window_size: WINDOW,
        watermark_delay: DELAY,
        idle_timeout: None,
        max_ahead: MaxAhead::Unbounded,
        ..Plan::default()
    })
}

fn author(incarnation: usize) -> Author {
    Author {
        state_id: "5f2c".into(),
        incarnation: format!("k{incarnation}"),
        owner: "test".into(),
        writer: "0.0.0".into(),
        window_size: WINDOW,
    }
}

#[derive(Clone, Debug)]
struct Tick {
    ticker: &'static str,
    event_time: i64,
    number: u64,
}

impl Tick {
    fn apply(&self, state: &mut ShardState) {
        let json = format!(
            r#"{{"ticker":"{}","timestamp":"{}","close":{}}}"#,
            self.ticker,
            Micros(self.event_time),
            self.number as f64 * 0.37 + 1.0
        );
        let meta = RecordMeta {
            sequence: self.number.into(),
            arrival: Micros(self.event_time),
        };
        state.apply(&meta, &Bytes::from(json), NOW);
    }
}

/// A shard of the stream, with its records.
#[derive(Clone, Debug)]
struct Shard {
    info: ShardInfo,
    ticks: Vec<Tick>,
}

/// One life of the stream.
#[derive(Clone, Debug, Default)]
struct Life {
    shards: Vec<Shard>,
}

impl Life {
    fn new(shards: usize) -> Self {
        let mut life = Life::default();
        let width = u128::MAX / shards as u128;
        for index in 0..shards as u128 {
            let end = if index + 1 == shards as u128 {
                u128::MAX
            } else {
                (index + 1) * width - 1
            };
            life.open(HashRange::new(index * width, end).unwrap(), vec![]);
        }
        life
    }

    fn open(&mut self, range: HashRange, parents: Vec<String>) {
        let id = format!("shardId-{:012}", self.shards.len());
        let info = ShardInfo {
            id,
            range,
            parents,
            closed: false,
        };
        self.shards.push(Shard {
            info,
            ticks: vec![],
        });
    }

    /// Indices of the open shards, by range.
    fn open_shards(&self) -> Vec<usize> {
        let mut open: Vec<usize> = (0..self.shards.len())
            .filter(|i| !self.shards[*i].info.closed)
            .collect();
        open.sort_by_key(|i| self.shards[*i].info.range);
        open
    }

    fn put(&mut self, tick: Tick) {
        let hash = key_hash(tick.ticker);
        let shard = self
            .shards
            .iter_mut()
            .find(|s| !s.info.closed && s.info.range.contains(hash));
        shard.unwrap().ticks.push(tick);
    }

    fn close(&mut self, index: usize) -> ShardInfo {
        self.shards[index].info.closed = true;
        self.shards[index].info.clone()
    }

    /// Splits the `nth` open shard between two of its tickers, or in its middle.
    fn split(&mut self, nth: usize) {
        let open = self.open_shards();
        let index = open[nth % open.len()];
        let range = self.shards[index].info.range;
        let mut hashes: Vec<u128> = TICKERS
            .iter()
            .map(|t| key_hash(t))
            .filter(|h| range.contains(*h))
            .collect();
        hashes.sort_unstable();
        let at = match hashes.as_slice() {
            [_, .., last] => *last,
            _ => range.start() + (range.end() - range.start()) / 2,
        };
        if at == range.start() {
            return;
        }
        let parent = self.close(index).id;
        self.open(
            HashRange::new(range.start(), at - 1).unwrap(),
            vec![parent.clone()],
        );
        self.open(HashRange::new(at, range.end()).unwrap(), vec![parent]);
    }

    /// Merges the `nth` open shard with its right neighbour.
    fn merge(&mut self, nth: usize) {
        let open = self.open_shards();
        if open.len() < 2 {
            return;
        }
        let left = nth % (open.len() - 1);
        let (a, b) = (self.close(open[left]), self.close(open[left + 1]));
        self.open(
            HashRange::new(a.range.start(), b.range.end()).unwrap(),
            vec![b.id, a.id],
        );
    }

    fn listing(&self) -> Vec<ShardInfo> {
        self.shards.iter().map(|shard| shard.info.clone()).collect()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Tick(usize, i64),
    Split(usize),
    Merge(usize),
    /// The stream is deleted and made anew with this many shards.
    Recreate(usize),
}

fn steps(jitter: i64, lives: bool) -> impl Strategy<Value = Vec<Step>> {
    let recreate = if lives { 1 } else { 0 };
    let step = prop_oneof![
        40 => (0..TICKERS.len(), 0..=jitter).prop_map(|(ticker, back)| Step::Tick(ticker, back)),
        2 => (0usize..8).prop_map(Step::Split),
        2 => (0usize..8).prop_map(Step::Merge),
        recreate => (1usize..4).prop_map(Step::Recreate),
    ];
    proptest::collection::vec(step, 0..160)
}

/// Every life of the stream, and all ticks in the order in which they were put.
fn history(shards: usize, steps: &[Step]) -> (Vec<Life>, Vec<Tick>) {
    let mut lives = vec![Life::new(shards)];
    let mut all = Vec::new();
    for (number, step) in (1u64..).zip(steps) {
        let life = lives.last_mut().unwrap();
        match step {
            Step::Tick(ticker, back) => {
                let event_time = START + number as i64 * 2 * SECOND - back * SECOND;
                let tick = Tick {
                    ticker: TICKERS[*ticker],
                    event_time,
                    number,
                };
                all.push(tick.clone());
                life.put(tick);
            }
            Step::Split(nth) => life.split(*nth),
            Step::Merge(nth) => life.merge(*nth),
            Step::Recreate(shards) => lives.push(Life::new(*shards)),
        }
    }
    (lives, all)
}

/// Draws numbers from a list, for ever: the workers' random choices.
struct Choices<'a> {
    numbers: &'a [usize],
    next: usize,
}

impl Choices<'_> {
    fn pick(&mut self, count: usize) -> usize {
        let number = self.numbers[self.next % self.numbers.len()]
            .wrapping_add(self.next / self.numbers.len());
        self.next += 1;
        number % count
    }
}

/// What came out.
#[derive(Clone, Debug, Default, PartialEq)]
struct Output {
    rows: Vec<Row>,
    late: Vec<LateTick>,
}

impl Output {
    fn take(&mut self, state: &mut ShardState) {
        let pending = state.take_unsealed();
        assert_eq!(pending.dead, []);
        self.rows.extend(pending.rows.to_vec());
        self.late.extend(pending.late);
    }

    /// In an order that doesn't tell which shard came first.
    fn sorted(mut self) -> Self {
        self.rows
            .sort_by(|a, b| (a.window_start, &a.ticker).cmp(&(b.window_start, &b.ticker)));
        self.late.sort_by(|a, b| a.sequence.cmp(&b.sequence));
        self
    }
}

/// Reads one life of the stream as workers would: any ready shard next, some ticks of it, through stored bytes.
struct Reader<'a, 'b> {
    life: &'a Life,
    incarnation: usize,
    roots: Roots,
    chains: BTreeMap<String, Checkpoint>,
    read: BTreeMap<String, usize>,
    choices: &'b mut Choices<'a>,
    output: Output,
}

impl Reader<'_, '_> {
    fn heads(&self) -> BTreeMap<String, Head> {
        self.chains
            .iter()
            .map(|(shard, chain)| (shard.clone(), Head::of(chain, 1)))
            .collect()
    }

    fn begin(&mut self, old: &[Checkpoint]) {
        for root in self.roots.roots.clone() {
            let author = author(self.incarnation);
            let first = if old.is_empty() {
                first_version_of_root(&author, &self.roots, &root.shard)
            } else {
                first_version_after_recreation(&author, &self.roots, &root.shard, old)
            };
            self.chains.insert(root.shard, first.unwrap());
        }
    }

    /// Reads until every shard is done, or for at most `turns`.
    fn run(&mut self, turns: usize) {
        for turn in 0.. {
            let mut listing = self.life.listing();
            // Listings come in any order.
            let by = self.choices.pick(listing.len());
            listing.rotate_left(by);
            let decisions = plan(&listing, &self.roots, true, &self.heads());
            let todo: Vec<(String, Decision)> = decisions
                .into_iter()
                .filter(|(shard, decision)| match decision {
                    Decision::Ready => !self.is_read(shard),
                    Decision::StartChild { .. } => true,
                    Decision::WaitFor { parents } => {
                        assert!(!parents.is_empty());
                        false
                    }
                    Decision::Finished => false,
                    other => panic!("{shard}: {other:?}"),
                })
                .collect();
            if todo.is_empty() || turn == turns {
                return;
            }
            let (shard, decision) = todo[self.choices.pick(todo.len())].clone();
            match decision {
                Decision::StartChild { from } => {
                    let info = listing.iter().find(|info| info.id == shard).unwrap();
                    let mut parents: Vec<Checkpoint> = from
                        .iter()
                        .map(|own| self.chains[&own.shard].clone())
                        .collect();
                    parents.reverse();
                    let first =
                        first_version_of_child(&author(self.incarnation), info, &from, &parents);
                    self.chains.insert(shard, first.unwrap());
                }
                _ => self.read_some(&shard),
            }
        }
    }

    fn shard(&self, id: &str) -> &Shard {
        self.life
            .shards
            .iter()
            .find(|shard| shard.info.id == id)
            .unwrap()
    }

    /// True when an open shard has been read to its tip.
    fn is_read(&self, id: &str) -> bool {
        let shard = self.shard(id);
        !shard.info.closed && self.read.get(id) == Some(&shard.ticks.len())
    }

    fn read_some(&mut self, id: &str) {
        let chain = decode(&encode(&self.chains[id]).unwrap()).unwrap();
        let mut state = ShardState::restore(pipeline(), &chain, NOW).unwrap();
        let shard = self
            .life
            .shards
            .iter()
            .find(|shard| shard.info.id == id)
            .unwrap();
        let from = self.read.get(id).copied().unwrap_or(0);
        let to = (from + 1 + self.choices.pick(20)).min(shard.ticks.len());
        for tick in &shard.ticks[from..to] {
            tick.apply(&mut state);
        }
        if shard.info.closed && to == shard.ticks.len() {
            state.end(Position::ShardEnd);
        }
        self.output.take(&mut state);
        let mut next = chain;
        next.version += 1;
        state.write_to(&mut next);
        self.chains.insert(id.to_owned(), next);
        self.read.insert(id.to_owned(), to);
    }

    /// The stream is gone: every chain that hasn't ended ends so.
    fn end_life(mut self) -> (Vec<Checkpoint>, Output) {
        for (shard, decision) in plan_end_of_incarnation(&self.roots, true, &self.heads()) {
            match decision {
                Decision::Finished => {}
                Decision::EndStreamGone => {
                    self.chains.get_mut(&shard).unwrap().position = Position::StreamGone;
                }
                other => panic!("{shard}: {other:?}"),
            }
        }
        (self.chains.into_values().collect(), self.output)
    }
}

/// Reads all lives. A life but the last one may be cut off before it was read to its tips.
fn read(lives: &[Life], numbers: &[usize], cut: bool) -> (Output, Vec<BTreeMap<String, usize>>) {
    let mut choices = Choices { numbers, next: 0 };
    let mut output = Output::default();
    let mut old: Vec<Checkpoint> = Vec::new();
    let mut marks = Vec::new();
    for (incarnation, life) in lives.iter().enumerate() {
        let roots =
            choose_roots(StartRule::TrimHorizon, &life.listing(), &[], START / 1_000).unwrap();
        let turns = match cut && incarnation + 1 < lives.len() {
            true => choices.pick(40),
            false => usize::MAX,
        };
        let mut reader = Reader {
            life,
            incarnation,
            roots,
            chains: BTreeMap::new(),
            read: BTreeMap::new(),
            choices: &mut choices,
            output: std::mem::take(&mut output),
        };
        reader.begin(&old);
        reader.run(turns);
        marks.push(reader.read.clone());
        (old, output) = reader.end_life();
    }
    // What is left open are the leaves' windows; each key's stand in one of them.
    let last = lives.last().unwrap();
    for chain in old
        .iter()
        .filter(|chain| chain.position == Position::StreamGone)
    {
        let info = last
            .listing()
            .into_iter()
            .find(|info| info.id == chain.shard)
            .unwrap();
        assert!(!info.closed, "{} wasn't read to its end", chain.shard);
        let mut state = ShardState::restore(pipeline(), chain, NOW).unwrap();
        state.close_all_windows();
        output.take(&mut state);
    }
    (output.sorted(), marks)
}

fn undivided(ticks: &[Tick]) -> Output {
    let listing = Life::new(1).listing();
    let roots = choose_roots(StartRule::TrimHorizon, &listing, &[], 0).unwrap();
    let first = first_version_of_root(&author(0), &roots, &listing[0].id).unwrap();
    let mut state = ShardState::restore(pipeline(), &first, NOW).unwrap();
    for tick in ticks {
        tick.apply(&mut state);
    }
    state.close_all_windows();
    let mut output = Output::default();
    output.take(&mut state);
    output.sorted()
}

/// Lateness told the slow way: every ticker remembers the highest watermark of any shard that ever held it; a shard begins
/// at the lowest watermark among its parents (by range: a shard of a new life has the leaves of the old one).
fn late_numbers(lives: &[Life]) -> BTreeSet<u64> {
    let mut late = BTreeSet::new();
    let mut bound: BTreeMap<&str, i64> = BTreeMap::new();
    let mut leaves: Vec<(HashRange, Option<i64>)> = vec![];
    for life in lives {
        let mut own: BTreeMap<&str, Option<i64>> = BTreeMap::new();
        for shard in &life.shards {
            // Parents come before their children in the list.
            let start = match shard.info.parents.as_slice() {
                [] => leaves
                    .iter()
                    .filter(|(range, _)| range.intersection(&shard.info.range).is_some())
                    .filter_map(|(_, w)| *w)
                    .min(),
                parents => parents
                    .iter()
                    .filter_map(|parent| own[parent.as_str()])
                    .min(),
            };
            let mut watermark = start;
            let held: Vec<&str> = TICKERS
                .into_iter()
                .filter(|t| shard.info.range.contains(key_hash(t)))
                .collect();
            for tick in &shard.ticks {
                let end = tick.event_time.div_euclid(WINDOW) * WINDOW + WINDOW;
                if bound
                    .get(tick.ticker)
                    .copied()
                    .max(watermark)
                    .is_some_and(|bound| end <= bound)
                {
                    late.insert(tick.number);
                } else {
                    watermark = watermark.max(Some(tick.event_time - DELAY));
                }
            }
            for ticker in held {
                if let Some(watermark) = watermark {
                    let own = bound.entry(ticker).or_insert(watermark);
                    *own = watermark.max(*own);
                }
            }
            own.insert(&shard.info.id, watermark);
        }
        leaves = life
            .shards
            .iter()
            .filter(|s| !s.info.closed)
            .map(|s| (s.info.range, own[s.info.id.as_str()]))
            .collect();
    }
    late
}

fn late_of(output: &Output) -> BTreeSet<u64> {
    output
        .late
        .iter()
        .map(|late| late.sequence.to_string().parse().unwrap())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn without_late_ticks_every_row_is_that_of_one_undivided_shard(
        shards in 1usize..4,
        steps in steps(40, true),
        numbers in proptest::collection::vec(any::<usize>(), 50),
    ) {
        let (lives, ticks) = history(shards, &steps);
        let (output, _) = read(&lives, &numbers, false);
        prop_assert_eq!(&output.late, &[]);
        prop_assert_eq!(output, undivided(&ticks));
    }

    #[test]
    fn late_is_what_the_highest_watermark_of_the_tickers_shards_says(
        shards in 1usize..4,
        steps in steps(150, true),
        numbers in proptest::collection::vec(any::<usize>(), 50),
    ) {
        let (lives, ticks) = history(shards, &steps);
        let (output, _) = read(&lives, &numbers, false);
        let late = late_numbers(&lives);
        prop_assert_eq!(late_of(&output), late.clone());
        // Every other tick is in exactly one row.
        let counted: u64 = output.rows.iter().map(|row| row.ticks).sum();
        prop_assert_eq!(counted as usize, ticks.len() - late.len());
        let windows: BTreeSet<_> = output.rows.iter().map(|row| (row.ticker.clone(), row.window_start)).collect();
        prop_assert_eq!(windows.len(), output.rows.len(), "a window gave two rows");
    }

    #[test]
    fn the_order_in_which_workers_get_to_shards_changes_nothing(
        shards in 1usize..4,
        steps in steps(150, true),
        numbers in proptest::collection::vec(any::<usize>(), 50),
        others in proptest::collection::vec(any::<usize>(), 50),
    ) {
        let (lives, _) = history(shards, &steps);
        prop_assert_eq!(read(&lives, &numbers, false).0, read(&lives, &others, false).0);
    }

    #[test]
    fn a_stream_made_anew_before_it_was_read_loses_only_what_nobody_had_read(
        shards in 1usize..4,
        steps in steps(40, true),
        numbers in proptest::collection::vec(any::<usize>(), 50),
    ) {
        let (lives, _) = history(shards, &steps);
        let (output, marks) = read(&lives, &numbers, true);
        // The order by number is that in which a ticker's ticks were read.
        let mut read: Vec<Tick> = lives
            .iter()
            .zip(&marks)
            .flat_map(|(life, marks)| life.shards.iter().map(move |shard| (shard, marks)))
            .flat_map(|(shard, marks)| shard.ticks[..marks.get(&shard.info.id).copied().unwrap_or(0)].to_vec())
            .collect();
        read.sort_by_key(|tick| tick.number);
        prop_assert_eq!(output, undivided(&read));
    }

    #[test]
    fn open_shards_cover_the_keys_after_any_reshard(shards in 1usize..4, steps in steps(0, false)) {
        let (lives, _) = history(shards, &steps);
        let life = &lives[0];
        let open: Vec<HashRange> = life.open_shards().into_iter().map(|i| life.shards[i].info.range).collect();
        prop_assert!(coverage(&open).is_complete());
        prop_assert!(open.len() == 1 || !coverage(&open[1..]).is_complete());
    }
}
