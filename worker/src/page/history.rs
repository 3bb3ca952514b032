//! One ticker's minutes: what is published, what is closed and waits, what is open.
//!
//! Owns putting the three together: a pure function. Must never call a figure final that may still change.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::observe::iso8601;
use crate::observe::state::{TickerReport, WindowFigures};

/// A ticker's newest minutes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct History {
    /// The ticker.
    pub ticker: String,
    /// Names of the aggregates in the order of the spec.
    pub aggregates: Vec<String>,
    /// Its windows, oldest first.
    pub rows: Vec<HistoryRow>,
    /// True when older rows may exist that aren't listed here.
    pub truncated: bool,
    /// What couldn't be read, for people.
    pub notes: Vec<String>,
}

/// A window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryRow {
    /// Start, inclusive.
    #[serde(with = "iso8601")]
    pub window_start: i64,
    /// End, exclusive.
    #[serde(with = "iso8601")]
    pub window_end: i64,
    /// Aggregate's name to value.
    pub values: BTreeMap<String, Option<f64>>,
    /// Ticks in it; files don't say.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ticks: Option<u64>,
    /// Whether it may still change, and where it stands.
    pub state: RowState,
}

/// Where a row stands. Later ones win over earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RowState {
    /// Its window is open: the figures are provisional.
    Open,
    /// Its window is closed: the figures are final, and not in a file yet.
    Closed,
    /// It is in a Parquet file.
    Published,
}

/// The newest `most` rows of everything known, oldest first: each window once, as the word that is furthest says.
pub(super) fn put_together(
    published: Vec<HistoryRow>,
    waiting: Vec<HistoryRow>,
    live: Option<&TickerReport>,
    most: usize,
) -> Vec<HistoryRow> {
    let mut rows: BTreeMap<i64, HistoryRow> = BTreeMap::new();
    // A ticker's windows close in order: what a checkpoint calls open and ends before this was closed meanwhile.
    let closed = live.and_then(|live| Some(live.closed.as_ref()?.window_end));
    let live = live.into_iter().flat_map(|live| {
        let through = live.published_through;
        let row = move |figures: &WindowFigures| {
            let published = through.is_some_and(|through| figures.window_end <= through);
            let state = match (figures.provisional, published) {
                (true, _) => RowState::Open,
                (false, false) => RowState::Closed,
                (false, true) => RowState::Published,
            };
            of_figures(figures, state)
        };
        live.closed.iter().chain(&live.open).map(row)
    });
    for mut row in published.into_iter().chain(waiting).chain(live) {
        match rows.get_mut(&row.window_start) {
            // Files don't say how many ticks there were; who closed the window does.
            // Of two words on an open window the later one in this order is the newer one.
            Some(known) if known.state >= row.state && known.state != RowState::Open => {
                known.ticks = known.ticks.or(row.ticks);
            }
            known => {
                row.ticks = row.ticks.or(known.and_then(|known| known.ticks));
                rows.insert(row.window_start, row);
            }
        }
    }
    rows.retain(|_, row| {
        row.state != RowState::Open || closed.is_none_or(|closed| row.window_end > closed)
    });
    let skip = rows.len().saturating_sub(most);
    rows.into_values().skip(skip).collect()
}

/// A window's figures as a row.
pub(super) fn of_figures(figures: &WindowFigures, state: RowState) -> HistoryRow {
    HistoryRow {
        window_start: figures.window_start,
        window_end: figures.window_end,
        values: figures.values.clone(),
        ticks: Some(figures.ticks),
        state,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::observe::fixtures::{NOW, ticker_report};

    const MINUTE: i64 = 60_000_000;

    fn row(minute: i64, state: RowState) -> HistoryRow {
        HistoryRow {
            window_start: NOW + minute * MINUTE,
            window_end: NOW + (minute + 1) * MINUTE,
            values: BTreeMap::from([("avg_close".to_owned(), Some(1.0))]),
            ticks: None,
            state,
        }
    }

    #[test]
    fn each_window_is_there_once_and_what_is_furthest_wins() {
        let live = ticker_report("AAPL", "s"); // minute 0 closed and published, minute 1 open
        let published = vec![row(-2, RowState::Published), row(0, RowState::Published)];
        let waiting = vec![row(-1, RowState::Closed), row(-2, RowState::Closed)];
        let rows = put_together(published, waiting, Some(&live), 100);
        let told: Vec<_> = rows
            .iter()
            .map(|row| ((row.window_start - NOW) / MINUTE, row.state, row.ticks))
            .collect();
        assert_eq!(
            told,
            [
                (-2, RowState::Published, None),
                (-1, RowState::Closed, None),
                (0, RowState::Published, Some(40)),
                (1, RowState::Open, Some(40)),
            ]
        );
    }

    #[test]
    fn a_window_that_is_closed_elsewhere_isnt_called_provisional() {
        let live = ticker_report("AAPL", "s");
        let rows = put_together(Vec::new(), vec![row(1, RowState::Closed)], Some(&live), 100);
        let newest = rows.last().unwrap();
        assert_eq!(
            (newest.state, newest.values["avg_close"]),
            (RowState::Closed, Some(1.0))
        );
    }

    #[test]
    fn only_the_newest_are_listed() {
        let published = (0..10)
            .map(|minute| row(-minute, RowState::Published))
            .collect();
        let rows = put_together(published, Vec::new(), None, 3);
        let told: Vec<_> = rows
            .iter()
            .map(|row| (row.window_start - NOW) / MINUTE)
            .collect();
        assert_eq!(told, [-2, -1, 0]);
    }
}
