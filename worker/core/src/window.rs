//! The open windows of a shard and the tickers it knows.
//!
//! Owns counting ticks into windows, closing them into rows, ids of producer's duplicates, and the shard's bounds.
//! Must never decide whether a window is closed: the watermark does.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::aggregate::Program;
use crate::checkpoint::{Checkpoint, Generation, Latest, OpenWindow};
use crate::generation;
use crate::hash::key_hash;
use crate::plan::{Function, Plan};
use crate::row::{DeadReason, Row};
use crate::rows::{RowHead, Rows};
use crate::sequence::SequenceNumber;
use crate::tick::numbers::{ABSENT, present};
use crate::tick::{BlockRun, Tick, Unusable};
use crate::time::{Date, Micros};

type FixedState = foldhash::fast::FixedState;
// The ban is on the random default hasher; this one is fixed.
#[allow(clippy::disallowed_types)]
type Map<K, V> = std::collections::HashMap<K, V, FixedState>;
#[allow(clippy::disallowed_types)]
type Set<K> = std::collections::HashSet<K, FixedState>;

/// No window ends then: event times lie within a few thousand years.
const NEVER: Micros = Micros(i64::MAX);

/// A ticker that the shard knows.
#[derive(Debug)]
struct Ticker {
    name: Arc<str>,
    hash: u128,
    /// Its open windows by their end, and where they stand.
    open: Vec<(Micros, u32)>,
    /// Ids of its open windows.
    ids: Set<Arc<str>>,
    /// Late ticks since the shard was taken; for display.
    late: u64,
    /// The end of the newest window that closed since the shard was taken, and where it stands; for display.
    closed: Option<(Micros, u32)>,
}

/// What each tick of a ticker looks at and changes, together.
#[derive(Clone, Copy, Debug)]
struct Pulse {
    /// The newest of its open windows: its end, and where it stands. [`CLOSED`] without one.
    newest_end: Micros,
    newest_place: u32,
    /// [`ABSENT`] while no tick had any.
    close: f64,
    /// Event time of the tick that gave the close; of the newest one while none had any.
    newest: Micros,
    /// Ticks counted since the shard was taken; for display.
    ticks: u64,
}

/// No window ends then.
const CLOSED: Micros = Micros(i64::MIN);

/// What is shown of a ticker. Counts and the closed row begin with the take.
#[derive(Debug)]
pub struct TickerView<'a> {
    /// The ticker.
    pub name: &'a Arc<str>,
    /// The close of the tick with the highest event time.
    pub close: Option<f64>,
    /// The highest event time; `None` without a counted tick.
    pub newest: Option<Micros>,
    /// The newest closed window.
    pub closed: Option<Row>,
    /// Ticks counted.
    pub ticks: u64,
    /// Late ticks.
    pub late: u64,
}

#[derive(Debug)]
struct Window {
    start: Micros,
    trade_date: Date,
    /// How many of its slots it computes.
    slots: usize,
    first_sequence: SequenceNumber,
    /// The last one that isn't short.
    last_long: SequenceNumber,
    ids: Vec<Arc<str>>,
}

impl Window {
    fn last_sequence(&self, tally: &Tally) -> SequenceNumber {
        match tally.last {
            LONG => self.last_long.clone(),
            last => SequenceNumber::from(last),
        }
    }
}

/// What each tick of a window changes, beside its slots.
#[derive(Clone, Debug)]
struct Tally {
    ticks: u64,
    /// The last tick's sequence number, when it is short. Else [`LONG`], and the window has it.
    last: u64,
    dated: bool,
}

/// No sequence number is so: a count of ticks doesn't come this far.
const LONG: u64 = u64::MAX;

/// A tick of a run that is counted: its ticker, and where its window stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counting {
    index: u32,
    place: u32,
}

/// A ticker as the table knows it: its index when it is known, and its key's hash.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    index: Option<u32>,
    /// The hash of the ticker as partition key.
    pub hash: u128,
}

impl Known {
    /// True when the shard has had a tick of it.
    pub fn is_known(&self) -> bool {
        self.index.is_some()
    }
}

/// Open windows and known tickers.
#[derive(Debug)]
pub struct WindowTable {
    plan: Arc<Plan>,
    generations: Vec<Generation>,
    program: Program,
    /// Where the close stands among a tick's numbers.
    close_index: usize,
    tickers: Vec<Ticker>,
    /// Of each ticker.
    pulses: Vec<Pulse>,
    by_name: Map<Arc<str>, u32>,
    /// Each ticker's place in the order of their names, while [`WindowTable::rank`] has seen them all.
    ranks: Vec<u32>,
    /// Open windows and the newest closed one of each ticker.
    windows: Vec<Window>,
    /// Of each window.
    tallies: Vec<Tally>,
    /// So many of each window. A figure that it doesn't compute has NaN first.
    slots: Vec<f64>,
    stride: usize,
    /// Places there that nobody needs any more.
    free: Vec<u32>,
    /// The tickers that have an open window with this end.
    by_end: BTreeMap<Micros, Vec<u32>>,
    /// The end of the oldest open window; the end of time without one.
    first_end: Micros,
    /// The end of the window that was asked for last.
    last_end: Micros,
    open: usize,
    ids: usize,
}

impl WindowTable {
    /// The windows and tickers of a checkpoint, under the figures of `generations`.
    pub fn restore(plan: Arc<Plan>, generations: Vec<Generation>, checkpoint: &Checkpoint) -> Self {
        let keys = number_keys(&plan, &generations);
        let index_of = |key: &str| keys.iter().position(|own| own == key).unwrap_or(0);
        let aggregates = generation::newest(&generations);
        let program = Program::new(aggregates, &plan.record.volume, index_of);
        let restored = checkpoint.windows.iter().map(|window| window.slots.len());
        let mut table = WindowTable {
            stride: restored.chain([program.slots()]).max().unwrap_or(0),
            program,
            close_index: index_of(&plan.record.close),
            plan,
            generations,
            tickers: Vec::new(),
            pulses: Vec::new(),
            tallies: Vec::new(),
            slots: Vec::new(),
            by_name: Map::default(),
            ranks: Vec::new(),
            windows: Vec::new(),
            free: Vec::new(),
            by_end: BTreeMap::new(),
            first_end: NEVER,
            last_end: Micros(i64::MIN),
            open: 0,
            ids: 0,
        };
        for latest in &checkpoint.latest {
            let index = table.add_ticker(&latest.ticker, key_hash(&latest.ticker));
            let pulse = &mut table.pulses[index as usize];
            pulse.close = latest.close.unwrap_or(ABSENT);
            pulse.newest = latest.event_time;
        }
        for window in &checkpoint.windows {
            table.restore_window(window);
        }
        table
    }

    fn restore_window(&mut self, window: &OpenWindow) {
        let index = match self.by_name.get(&window.ticker) {
            Some(index) => *index,
            None => self.add_ticker(&window.ticker, key_hash(&window.ticker)),
        };
        self.ids += window.ids.len();
        let ticker = &mut self.tickers[index as usize];
        ticker.ids.extend(window.ids.iter().cloned());
        let end = window.start.plus(self.plan.window_size);
        let tally = Tally {
            ticks: window.ticks,
            last: window.last_sequence.as_short().unwrap_or(LONG),
            dated: window.dated,
        };
        let place = self.put(
            Window {
                start: window.start,
                trade_date: window.trade_date,
                slots: window.slots.len(),
                first_sequence: window.first_sequence.clone(),
                last_long: window.last_sequence.clone(),
                ids: window.ids.clone(),
            },
            tally,
        );
        self.slots_mut(place)[..window.slots.len()].copy_from_slice(&window.slots);
        self.note_open(index, end, place);
    }

    /// Keeps a window that computes nothing yet; its place.
    fn put(&mut self, window: Window, tally: Tally) -> u32 {
        let own = window.slots;
        let place = match self.free.pop() {
            Some(place) => {
                self.windows[place as usize] = window;
                self.tallies[place as usize] = tally;
                place
            }
            None => {
                self.windows.push(window);
                self.tallies.push(tally);
                self.slots.resize(self.windows.len() * self.stride, 0.0);
                narrow(self.windows.len() - 1)
            }
        };
        let (computed, others) = self.slots_mut(place).split_at_mut(own);
        computed.fill(0.0);
        others.fill(f64::NAN);
        place
    }

    fn slots_mut(&mut self, place: u32) -> &mut [f64] {
        let begin = place as usize * self.stride;
        &mut self.slots[begin..begin + self.stride]
    }

    /// The slots that a window computes.
    fn slots_of(&self, place: u32) -> &[f64] {
        let begin = place as usize * self.stride;
        &self.slots[begin..begin + self.windows[place as usize].slots]
    }

    fn note_open(&mut self, index: u32, end: Micros, place: u32) {
        self.open += 1;
        self.first_end = self.first_end.min(end);
        self.by_end.entry(end).or_default().push(index);
        let ticker = &mut self.tickers[index as usize];
        let at = ticker.open.partition_point(|(other, _)| *other < end);
        ticker.open.insert(at, (end, place));
        self.pulses[index as usize].note_newest(ticker);
    }

    /// Where a ticker's open window with this end stands.
    #[inline]
    fn open_at(&self, index: u32, end: Micros) -> Option<u32> {
        // Most ticks belong to the newest.
        let pulse = self.pulses.get(index as usize)?;
        if pulse.newest_end == end {
            return Some(pulse.newest_place);
        }
        let open = &self.tickers[index as usize].open;
        let at = open.binary_search_by_key(&end, |(end, _)| *end).ok()?;
        Some(open[at].1)
    }

    /// What the table knows of a ticker.
    pub fn look_up(&self, ticker: &str) -> Known {
        match self.by_name.get(ticker) {
            Some(index) => Known {
                index: Some(*index),
                hash: self.tickers[*index as usize].hash,
            },
            None => Known {
                index: None,
                hash: key_hash(ticker),
            },
        }
    }

    /// The index of a known ticker.
    pub fn index_of(&self, ticker: &str) -> Option<u32> {
        self.by_name.get(ticker).copied()
    }

    /// True when no open window ends at or before `watermark`.
    pub fn is_open_after(&self, watermark: Micros) -> bool {
        watermark < self.first_end
    }

    /// True when the tick carries a value for at least one figure.
    pub fn is_usable(&self, numbers: &[f64]) -> bool {
        self.program.is_usable(numbers)
    }

    /// The end of the window that holds an event time. Most ticks lie in the window of the tick before.
    pub fn window_end(&mut self, event_time: Micros) -> Micros {
        let size = self.plan.window_size;
        let end = self.last_end;
        if event_time < end && end.0.saturating_sub(event_time.0) <= size {
            return end;
        }
        self.last_end = event_time.window_start(size).plus(size);
        self.last_end
    }

    /// True when the tick's id stands in an open window of its ticker.
    pub fn is_duplicate(&self, tick: &Tick<'_>, known: Known) -> bool {
        match (tick.id.as_deref(), known.index) {
            (Some(id), Some(index)) => self.tickers[index as usize].ids.contains(id),
            _ => false,
        }
    }

    /// The bound that the tick, whose window ends at `end`, would break, if any.
    pub fn bound_broken(&self, tick: &Tick<'_>, known: Known, end: Micros) -> Option<Unusable> {
        let limits = self.plan.limits;
        let full = |reason, limit: usize, what: &str| {
            Some(Unusable {
                reason,
                detail: format!("the shard already has {limit} {what}, its limit"),
            })
        };
        if !known.is_known() && self.tickers.len() >= limits.tickers {
            return full(DeadReason::TooManyTickers, limits.tickers, "tickers");
        }
        if self.open >= limits.open_windows && self.opens_window(known, end) {
            return full(
                DeadReason::TooManyWindows,
                limits.open_windows,
                "open windows",
            );
        }
        if tick.id.is_some() && self.ids >= limits.ids {
            return full(DeadReason::TooManyIds, limits.ids, "ids in open windows");
        }
        None
    }

    fn opens_window(&self, known: Known, end: Micros) -> bool {
        known
            .index
            .is_none_or(|index| self.open_at(index, end).is_none())
    }

    /// Counts a tick into its window, which ends at `end` and is opened if need be.
    pub fn count(
        &mut self,
        sequence: &SequenceNumber,
        tick: &Tick<'_>,
        known: Known,
        end: Micros,
        numbers: &[f64],
    ) {
        let index = match known.index {
            Some(index) => index,
            None => self.add_ticker(&Arc::from(tick.ticker.as_ref()), known.hash),
        };
        let place = match self.open_at(index, end) {
            Some(place) => place,
            None => self.open_window(index, end, tick.event_time, sequence),
        };
        self.add(
            place,
            index,
            sequence,
            tick.event_time,
            tick.trade_date,
            numbers,
        );
        if let Some(id) = &tick.id {
            let id: Arc<str> = id.as_ref().into();
            self.windows[place as usize].ids.push(id.clone());
            self.tickers[index as usize].ids.insert(id);
            self.ids += 1;
        }
    }

    /// Where a tick of a run is to be counted ([`WindowTable::count_run`]): its window, which ends at `end`, is opened if need
    /// be. `None` when it doesn't fit into the shard's bounds. The tick has no id, and the ticker at `index` is known.
    #[inline]
    pub(crate) fn place_in_run(
        &mut self,
        sequence: u64,
        event_time: Micros,
        index: u32,
        end: Micros,
    ) -> Option<Counting> {
        let place = match self.open_at(index, end) {
            Some(place) => place,
            None if self.open >= self.plan.limits.open_windows => return None,
            None => self.open_window(index, end, event_time, &SequenceNumber::from(sequence)),
        };
        Some(Counting { index, place })
    }

    /// As [`WindowTable::count`] of each, in their order, of ticks whose windows are open. The first has this sequence number,
    /// and the others follow.
    ///
    /// Figure after figure: what each window's figure is made of, and in which order, stays the same.
    pub(crate) fn count_run(&mut self, run: &[Counting], first: u64, ticks: &BlockRun<'_>) {
        let places = run.iter().map(|counting| counting.place as usize);
        self.program
            .add_run(&mut self.slots, self.stride, places, ticks);
        let ticks = ticks.iter().zip(first..).zip(run);
        for ((tick, sequence), Counting { index, place }) in ticks {
            let tally = &mut self.tallies[*place as usize];
            tally.ticks += 1;
            tally.last = sequence;
            if let (false, Some(date)) = (tally.dated, tick.trade_date) {
                self.windows[*place as usize].trade_date = date;
                tally.dated = true;
            }
            let pulse = &mut self.pulses[*index as usize];
            pulse.ticks += 1;
            pulse.note_latest(tick.event_time, tick.numbers[self.close_index]);
        }
    }

    fn open_window(
        &mut self,
        index: u32,
        end: Micros,
        event_time: Micros,
        sequence: &SequenceNumber,
    ) -> u32 {
        let start = end.minus(self.plan.window_size);
        let generation = generation::at(&self.generations, start);
        let window = Window {
            start,
            trade_date: event_time.date(),
            slots: self.program.slots_of_first(generation.len()),
            first_sequence: sequence.clone(),
            last_long: sequence.clone(),
            ids: Vec::new(),
        };
        let tally = Tally {
            ticks: 0,
            last: sequence.as_short().unwrap_or(LONG),
            dated: false,
        };
        let place = self.put(window, tally);
        self.note_open(index, end, place);
        place
    }

    fn add(
        &mut self,
        place: u32,
        index: u32,
        sequence: &SequenceNumber,
        event_time: Micros,
        trade_date: Option<Date>,
        numbers: &[f64],
    ) {
        let tally = &mut self.tallies[place as usize];
        if let (false, Some(date)) = (tally.dated, trade_date) {
            self.windows[place as usize].trade_date = date;
            tally.dated = true;
        }
        tally.ticks += 1;
        tally.last = sequence.as_short().unwrap_or(LONG);
        if tally.last == LONG {
            self.windows[place as usize].last_long.clone_from(sequence);
        }
        let begin = place as usize * self.stride;
        let own = self.windows[place as usize].slots;
        self.program
            .add(&mut self.slots[begin..begin + own], numbers);
        let pulse = &mut self.pulses[index as usize];
        pulse.ticks += 1;
        pulse.note_latest(event_time, numbers[self.close_index]);
    }

    /// Counts a late tick of a known ticker, for display.
    pub fn note_late(&mut self, known: Known) {
        if let Some(index) = known.index {
            self.tickers[index as usize].late += 1;
        }
    }

    /// Closes the windows that end at or before `watermark`; their rows go behind `rows`, in the order of (end, ticker).
    pub fn close_through(&mut self, watermark: Micros, rows: &mut Rows) {
        if watermark < self.first_end {
            return;
        }
        while let Some(entry) = self.by_end.first_entry() {
            if *entry.key() > watermark {
                break;
            }
            let (end, mut tickers) = entry.remove_entry();
            self.sort_by_name(&mut tickers);
            self.open -= tickers.len();
            for index in tickers {
                self.close(index, end, rows);
            }
        }
        self.first_end = self.by_end.keys().next().copied().unwrap_or(NEVER);
    }

    fn sort_by_name(&mut self, tickers: &mut [u32]) {
        // Names are compared anew when few tickers close, and all at once when many do.
        if self.ranks.len() != self.tickers.len() && tickers.len() > self.tickers.len() / 16 {
            self.rank();
        }
        if self.ranks.len() == self.tickers.len() {
            tickers.sort_unstable_by_key(|index| self.ranks[*index as usize]);
        } else {
            let name = |index: u32| &self.tickers[index as usize].name;
            tickers.sort_unstable_by(|a, b| name(*a).cmp(name(*b)));
        }
    }

    fn rank(&mut self) {
        let mut order: Vec<u32> = (0..narrow(self.tickers.len())).collect();
        let name = |index: u32| &self.tickers[index as usize].name;
        order.sort_unstable_by(|a, b| name(*a).cmp(name(*b)));
        self.ranks = vec![0; order.len()];
        for (rank, index) in (0..).zip(order) {
            self.ranks[index as usize] = rank;
        }
    }

    fn close(&mut self, index: u32, end: Micros, rows: &mut Rows) {
        let ticker = &mut self.tickers[index as usize];
        let Ok(at) = ticker.open.binary_search_by_key(&end, |(end, _)| *end) else {
            return; // never: it is listed under this end
        };
        let (_, place) = ticker.open.remove(at);
        self.pulses[index as usize].note_newest(ticker);
        let window = &mut self.windows[place as usize];
        self.ids -= window.ids.len();
        for id in std::mem::take(&mut window.ids) {
            ticker.ids.remove(&id);
        }
        let tally = &self.tallies[place as usize];
        let head = RowHead {
            ticker: &ticker.name,
            trade_date: window.trade_date,
            window_start: window.start,
            window_end: end,
            ticks: tally.ticks,
            first_sequence: window.first_sequence.clone(),
            last_sequence: window.last_sequence(tally),
        };
        let begin = place as usize * self.stride;
        let slots = &self.slots[begin..begin + window.slots];
        rows.push_with(head, self.program.figures(slots));
        if let Some((_, former)) = ticker.closed.replace((end, place)) {
            self.free.push(former);
        }
    }

    /// The open windows, oldest first: each with its ticker and end.
    fn open_ones(&self) -> impl Iterator<Item = (Micros, &Ticker, u32)> {
        self.by_end.iter().flat_map(move |(end, tickers)| {
            tickers.iter().filter_map(move |index| {
                let place = self.open_at(*index, *end)?;
                Some((*end, &self.tickers[*index as usize], place))
            })
        })
    }

    /// The end of the newest open window.
    pub fn newest_end(&self) -> Option<Micros> {
        self.by_end.keys().next_back().copied()
    }

    /// How many windows are open.
    pub fn open(&self) -> usize {
        self.open
    }

    /// The figures that windows compute, oldest first.
    pub fn generations(&self) -> &[Generation] {
        &self.generations
    }

    /// Open windows as a checkpoint holds them, by (start, ticker).
    pub fn open_windows(&self) -> Vec<OpenWindow> {
        let mut open: Vec<OpenWindow> = Vec::with_capacity(self.open);
        open.extend(self.open_ones().map(|(_, ticker, place)| {
            let (window, tally) = (&self.windows[place as usize], &self.tallies[place as usize]);
            OpenWindow {
                ticker: ticker.name.clone(),
                start: window.start,
                trade_date: window.trade_date,
                dated: tally.dated,
                ticks: tally.ticks,
                slots: self.slots_of(place).to_vec(),
                first_sequence: window.first_sequence.clone(),
                last_sequence: window.last_sequence(tally),
                ids: window.ids.clone(),
            }
        }));
        for same in open.chunk_by_mut(|a, b| a.start == b.start) {
            same.sort_unstable_by(|a, b| a.ticker.cmp(&b.ticker));
        }
        open
    }

    /// Every known ticker with its latest close, by ticker.
    pub fn latest(&self) -> Vec<Latest> {
        let mut latest: Vec<Latest> = self
            .tickers
            .iter()
            .zip(&self.pulses)
            .map(|(ticker, pulse)| Latest {
                ticker: ticker.name.clone(),
                close: present(pulse.close),
                event_time: pulse.newest,
            })
            .collect();
        latest.sort_unstable_by(|a, b| a.ticker.cmp(&b.ticker));
        latest
    }

    /// What is shown of each ticker, in no particular order.
    pub fn tickers(&self) -> impl ExactSizeIterator<Item = TickerView<'_>> {
        let tickers = self.tickers.iter().zip(&self.pulses);
        tickers.map(|(ticker, pulse)| TickerView {
            name: &ticker.name,
            close: present(pulse.close),
            newest: (pulse.newest.0 != i64::MIN).then_some(pulse.newest),
            closed: ticker
                .closed
                .map(|(end, place)| self.row(ticker, end, place)),
            ticks: pulse.ticks,
            late: ticker.late,
        })
    }

    /// The newest open window of each ticker, as the row that it would be if it closed now.
    pub fn provisional(&self) -> BTreeMap<Arc<str>, Row> {
        // A ticker's later windows come later.
        self.open_ones()
            .map(|(end, ticker, place)| (ticker.name.clone(), self.row(ticker, end, place)))
            .collect()
    }

    fn row(&self, ticker: &Ticker, end: Micros, place: u32) -> Row {
        let (window, tally) = (&self.windows[place as usize], &self.tallies[place as usize]);
        Row {
            ticker: ticker.name.clone(),
            trade_date: window.trade_date,
            window_start: window.start,
            window_end: end,
            values: self.program.finish(self.slots_of(place)),
            ticks: tally.ticks,
            first_sequence: window.first_sequence.clone(),
            last_sequence: window.last_sequence(tally),
        }
    }

    fn add_ticker(&mut self, name: &Arc<str>, hash: u128) -> u32 {
        let index = narrow(self.tickers.len());
        self.by_name.insert(name.clone(), index);
        self.tickers.push(Ticker {
            name: name.clone(),
            hash,
            open: Vec::new(),
            ids: Set::default(),
            late: 0,
            closed: None,
        });
        self.pulses.push(Pulse {
            newest_end: CLOSED,
            newest_place: 0,
            close: ABSENT,
            newest: Micros(i64::MIN),
            ticks: 0,
        });
        index
    }
}

/// Counts fit: the limits on tickers and windows are far below.
fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

impl Pulse {
    /// Takes note of the newest of the ticker's open windows.
    fn note_newest(&mut self, ticker: &Ticker) {
        (self.newest_end, self.newest_place) = ticker.open.last().copied().unwrap_or((CLOSED, 0));
    }

    /// The close of the highest event time counts; of equals, the later one. Ticks without a close count only until one
    /// comes, so that the close and the event time always belong together.
    #[inline]
    fn note_latest(&mut self, event_time: Micros, close: f64) {
        let newer = match (close.is_nan(), self.close.is_nan()) {
            (true, false) => false,
            (false, true) => true,
            _ => event_time >= self.newest,
        };
        if newer {
            self.newest = event_time;
            self.close = close;
        }
    }
}

/// The JSON keys whose numbers the figures need, the close first.
pub fn number_keys(plan: &Plan, generations: &[Generation]) -> Vec<String> {
    let aggregates = generation::newest(generations);
    let wants_volume = aggregates
        .iter()
        .any(|aggregate| aggregate.function == Function::Vwap);
    let fields = aggregates.iter().map(|aggregate| &aggregate.field);
    let mut keys = vec![plan.record.close.clone()];
    for key in fields.chain(wants_volume.then_some(&plan.record.volume)) {
        if !keys.contains(key) {
            keys.push(key.clone());
        }
    }
    keys
}
