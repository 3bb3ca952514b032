//! Open windows as columns: how a checkpoint stores them.
//!
//! Owns that form only. A hundred thousand windows as maps would repeat every field's name and every ticker; as
//! columns they are a few arrays that compress well.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::checkpoint::OpenWindow;
use crate::sequence::SequenceNumber;
use crate::time::{Date, Micros};

#[derive(Serialize, Deserialize, Default)]
struct Columns {
    /// Each ticker once, in order.
    tickers: Vec<String>,
    /// Index into `tickers`.
    ticker: Vec<u32>,
    start: Vec<i64>,
    trade_date: Vec<i32>,
    dated: Vec<bool>,
    ticks: Vec<u64>,
    /// Slots per window.
    slot_counts: Vec<u32>,
    /// All slots, one window after the other, as IEEE 754 bits.
    slots: Vec<u64>,
    first_sequence: Vec<SequenceNumber>,
    last_sequence: Vec<SequenceNumber>,
    /// Index of a window that has ids, and its ids.
    ids: Vec<(u32, Vec<String>)>,
}

pub(crate) fn serialize<S: Serializer>(
    windows: &[OpenWindow],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut columns = Columns::default();
    let mut index_of: BTreeMap<&Arc<str>, u32> = BTreeMap::new();
    for window in windows {
        index_of.entry(&window.ticker).or_default();
    }
    for (index, (ticker, slot)) in (0..).zip(index_of.iter_mut()) {
        *slot = index;
        columns.tickers.push(ticker.to_string());
    }
    for (index, window) in (0..).zip(windows) {
        columns.ticker.push(index_of[&window.ticker]);
        columns.start.push(window.start.0);
        columns.trade_date.push(window.trade_date.days());
        columns.dated.push(window.dated);
        columns.ticks.push(window.ticks);
        columns
            .slot_counts
            .push(u32::try_from(window.slots.len()).unwrap_or(u32::MAX));
        columns
            .slots
            .extend(window.slots.iter().map(|slot| slot.to_bits()));
        columns.first_sequence.push(window.first_sequence.clone());
        columns.last_sequence.push(window.last_sequence.clone());
        if !window.ids.is_empty() {
            let ids = window.ids.iter().map(|id| id.to_string()).collect();
            columns.ids.push((index, ids));
        }
    }
    columns.serialize(serializer)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<OpenWindow>, D::Error> {
    let columns = Columns::deserialize(deserializer)?;
    columns
        .windows()
        .ok_or_else(|| D::Error::custom("the columns of the open windows don't fit together"))
}

impl Columns {
    /// The windows, or `None` when the columns contradict each other.
    fn windows(self) -> Option<Vec<OpenWindow>> {
        let count = self.ticker.len();
        let lengths = [
            self.start.len(),
            self.trade_date.len(),
            self.dated.len(),
            self.ticks.len(),
            self.slot_counts.len(),
            self.first_sequence.len(),
            self.last_sequence.len(),
        ];
        if lengths.iter().any(|length| *length != count) {
            return None;
        }
        let tickers: Vec<Arc<str>> = self.tickers.into_iter().map(Arc::from).collect();
        let mut windows = Vec::with_capacity(count);
        let mut slots = self.slots.into_iter();
        for index in 0..count {
            let wanted = usize::try_from(self.slot_counts[index]).ok()?;
            let own: Vec<f64> = slots.by_ref().take(wanted).map(f64::from_bits).collect();
            if own.len() != wanted {
                return None;
            }
            let ticker = usize::try_from(self.ticker[index]).ok()?;
            windows.push(OpenWindow {
                ticker: tickers.get(ticker)?.clone(),
                start: Micros(self.start[index]),
                trade_date: Date::from_days(self.trade_date[index]),
                dated: self.dated[index],
                ticks: self.ticks[index],
                slots: own,
                first_sequence: self.first_sequence[index].clone(),
                last_sequence: self.last_sequence[index].clone(),
                ids: Vec::new(),
            });
        }
        for (index, ids) in self.ids {
            let ids = ids.into_iter().map(Arc::from).collect();
            windows.get_mut(usize::try_from(index).ok()?)?.ids = ids;
        }
        slots.next().is_none().then_some(windows)
    }
}
