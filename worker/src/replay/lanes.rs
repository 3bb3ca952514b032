//! Which records go into the next PutRecords call. Pure: rows come in, calls come out, answers go in.
//!
//! Each ticker has a lane, a queue in the order of the input. A lane gives out its first record only when
//! none of its records is in flight, so that the stream's order within a ticker is the input's, whatever the
//! service does inside a call and however many calls run side by side. Across tickers the oldest record
//! goes first; a ticker that waits for a retry holds up nobody else until [`WINDOW`] records are pending.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use backon::ExponentialBackoff;
use bytes::Bytes;
use jiff::Timestamp;

/// Records of one call: the limit of the service.
pub const RECORDS_PER_CALL: usize = 500;

/// Bytes of data and partition keys of one call: 5 MiB, half of what the service takes.
pub const BYTES_PER_CALL: usize = 5 * 1024 * 1024;

/// Records handed in and not yet delivered, at most. It bounds how far the tickers drift apart.
pub const WINDOW: usize = 4096;

/// A ticker's number in the table of rows.
pub type TickerId = u32;

/// A record on its way: owned by its lane, or by the call it is in.
#[derive(Debug)]
pub struct Pending {
    /// Its place in the run, counted from 0.
    pub sequence: u64,
    /// Its ticker.
    pub ticker: TickerId,
    /// Its row's place in the table.
    pub row: usize,
    /// How often it was sent.
    pub attempts: u32,
    /// The bytes to send again as they are, and their event time, after a call that was not answered.
    pub frozen: Option<(Bytes, Timestamp)>,
    /// The waits left before further attempts; made at the first failure.
    pub delays: Option<ExponentialBackoff>,
}

#[derive(Debug, Default)]
struct Lane {
    queue: VecDeque<Pending>,
    /// One of its records is in a call, or waits to be sent again.
    held: bool,
}

/// The lanes of a run.
#[derive(Debug, Default)]
pub struct Lanes {
    lanes: HashMap<TickerId, Lane>,
    /// First records of lanes that may be sent: sequence → ticker.
    ready: BTreeMap<u64, TickerId>,
    /// Lanes that wait for a retry, by the time since the run's start.
    waiting: BTreeSet<(Duration, TickerId)>,
    next_sequence: u64,
    pending: usize,
}

impl Lanes {
    /// How many more records may be pushed now.
    pub fn room(&self) -> usize {
        WINDOW.saturating_sub(self.pending)
    }

    /// Nothing is queued, in flight or waiting.
    pub fn is_empty(&self) -> bool {
        self.pending == 0
    }

    /// Records queued, in flight or waiting.
    pub fn pending(&self) -> usize {
        self.pending
    }

    /// When the next waiting record may be sent, since the run's start.
    pub fn next_retry(&self) -> Option<Duration> {
        self.waiting.first().map(|(at, _)| *at)
    }

    /// Takes over the next record of the run.
    pub fn push(&mut self, ticker: TickerId, row: usize) {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.pending += 1;
        let lane = self.lanes.entry(ticker).or_default();
        if lane.queue.is_empty() && !lane.held {
            self.ready.insert(sequence, ticker);
        }
        lane.queue.push_back(Pending {
            sequence,
            ticker,
            row,
            attempts: 0,
            frozen: None,
            delays: None,
        });
    }

    /// The records of the next call: the oldest ready ones, at most one a ticker, [`RECORDS_PER_CALL`] in all.
    /// Each must come back through [`Lanes::delivered`] or [`Lanes::retry_at`] (or [`Lanes::put_back`]).
    pub fn take(&mut self, now: Duration) -> Vec<Pending> {
        while let Some((at, ticker)) = self.waiting.first().copied().filter(|(at, _)| *at <= now) {
            self.waiting.remove(&(at, ticker));
            self.release(ticker);
        }
        let mut call = Vec::new();
        while call.len() < RECORDS_PER_CALL {
            let Some((_, ticker)) = self.ready.pop_first() else {
                break;
            };
            let Some(lane) = self.lanes.get_mut(&ticker) else {
                continue;
            };
            lane.held = true;
            call.extend(lane.queue.pop_front());
        }
        call
    }

    /// The record is in the stream: its ticker's next one may go.
    pub fn delivered(&mut self, record: &Pending) {
        self.pending -= 1;
        self.release(record.ticker);
    }

    /// The record is to be sent again, not before `at`; its ticker waits for it.
    pub fn retry_at(&mut self, record: Pending, at: Duration) {
        let ticker = record.ticker;
        self.lanes
            .entry(ticker)
            .or_default()
            .queue
            .push_front(record);
        self.waiting.insert((at, ticker));
    }

    /// The record did not fit in the call: it is ready as before.
    pub fn put_back(&mut self, record: Pending) {
        let ticker = record.ticker;
        self.lanes
            .entry(ticker)
            .or_default()
            .queue
            .push_front(record);
        self.release(ticker);
    }

    fn release(&mut self, ticker: TickerId) {
        let Some(lane) = self.lanes.get_mut(&ticker) else {
            return;
        };
        lane.held = false;
        match lane.queue.front() {
            Some(next) => {
                self.ready.insert(next.sequence, ticker);
            }
            None => {
                self.lanes.remove(&ticker);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    #[test]
    fn a_call_holds_the_oldest_record_of_each_ticker() {
        let mut lanes = Lanes::default();
        for (row, ticker) in [3, 3, 1, 2, 3, 1].into_iter().enumerate() {
            lanes.push(ticker, row);
        }
        let rows = |call: &[Pending]| call.iter().map(|record| record.row).collect::<Vec<_>>();
        let first = lanes.take(Duration::ZERO);
        assert_eq!(rows(&first), [0, 2, 3]);
        assert!(
            lanes.take(Duration::ZERO).is_empty(),
            "all tickers are in flight"
        );
        lanes.delivered(&first[0]);
        assert_eq!(rows(&lanes.take(Duration::ZERO)), [1]);
    }

    #[test]
    fn a_failed_record_holds_up_its_own_ticker_only() {
        let mut lanes = Lanes::default();
        for (row, ticker) in [1, 2, 1, 2].into_iter().enumerate() {
            lanes.push(ticker, row);
        }
        let mut call = lanes.take(Duration::ZERO);
        lanes.delivered(&call.pop().unwrap());
        lanes.retry_at(call.pop().unwrap(), Duration::from_secs(1));
        assert_eq!(lanes.next_retry(), Some(Duration::from_secs(1)));
        assert_eq!(lanes.take(Duration::from_millis(999))[0].row, 3);
        assert_eq!(
            lanes.take(Duration::from_secs(1))[0].row,
            0,
            "before the ticker's later record"
        );
    }

    #[test]
    fn a_call_is_never_longer_than_the_service_takes() {
        let mut lanes = Lanes::default();
        for ticker in 0..1200 {
            lanes.push(ticker, 0);
        }
        let sizes: Vec<_> = (0..4).map(|_| lanes.take(Duration::ZERO).len()).collect();
        assert_eq!(sizes, [500, 500, 200, 0]);
        assert_eq!(lanes.room(), WINDOW - 1200);
    }

    proptest! {
        /// Any tickers, any interleaving of calls, any failures: each ticker's records are delivered once, in order.
        #[test]
        fn the_order_within_a_ticker_is_kept(
            tickers in prop::collection::vec(0u32..6, 0..120),
            // What happens next: which of the running calls is answered, and which of its records fail.
            script in prop::collection::vec((any::<usize>(), any::<u64>(), 0u64..3), 0..400),
        ) {
            let mut lanes = Lanes::default();
            for (row, ticker) in tickers.iter().enumerate() {
                lanes.push(*ticker, row);
            }
            let mut running: Vec<Vec<Pending>> = Vec::new();
            let mut delivered: Vec<(TickerId, usize)> = Vec::new();
            let mut now = Duration::ZERO;
            let mut script = script.into_iter().chain(std::iter::repeat((0, 0, 3)));
            while !lanes.is_empty() {
                let call = lanes.take(now);
                if !call.is_empty() {
                    let flying: Vec<_> = running.iter().flatten().chain(&call).map(|record| record.ticker).collect();
                    prop_assert_eq!(flying.iter().collect::<HashSet<_>>().len(), flying.len(), "one in flight a ticker");
                    running.push(call);
                }
                let (which, fails, wait) = script.next().unwrap();
                now += Duration::from_millis(wait);
                if running.is_empty() {
                    continue;
                }
                let at = which % running.len();
                for (bit, record) in running.remove(at).into_iter().enumerate() {
                    if fails >> (bit % 64) & 1 == 1 {
                        lanes.retry_at(record, now + Duration::from_millis(2));
                    } else {
                        lanes.delivered(&record);
                        delivered.push((record.ticker, record.row));
                    }
                }
            }
            for ticker in 0..6 {
                let sent: Vec<_> = tickers.iter().enumerate().filter(|(_, t)| **t == ticker).map(|(row, _)| row).collect();
                let arrived: Vec<_> = delivered.iter().filter(|(t, _)| *t == ticker).map(|(_, row)| *row).collect();
                prop_assert_eq!(sent, arrived);
            }
        }
    }
}
