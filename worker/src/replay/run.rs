//! The run over rows: reads them, plans their event times and hands them to [`super::drive`].
//! Owns the clock.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use aws_sdk_kinesis::Client;
use bytes::Bytes;
use jiff::Timestamp;

use super::drive::{Load, Manner, drive, nothing_sent};
use super::event_time::{EventTimes, expected_duration};
use super::lanes::TickerId;
use super::options::ReplayOptions;
use super::progress::{Observer, Plan};
use super::put::ensure_stream;
use super::rows::{self, BYTES_PER_ROW, ReadOptions, Table};
use super::summary::ReplaySummary;
use super::{ReplayError, tick};

/// Replays `options.input` into the stream until all records are delivered or `stop` is ready.
///
/// All rows are read first, so an error about the input means that nothing was sent. Once `stop` is ready no
/// further call begins; the calls in flight are waited for (10 s at most) and counted.
///
/// # Errors
/// See [`ReplayError`].
pub async fn run(
    client: &Client,
    options: ReplayOptions,
    observer: &mut dyn Observer,
    stop: impl Future<Output = ()> + Send,
) -> Result<ReplaySummary, ReplayError> {
    run_with_clock(client, options, observer, stop, &Timestamp::now).await
}

/// As [`run`], with event times from another clock than the system's.
///
/// # Errors
/// See [`ReplayError`].
pub async fn run_with_clock(
    client: &Client,
    options: ReplayOptions,
    observer: &mut dyn Observer,
    stop: impl Future<Output = ()> + Send,
    clock: &(dyn Fn() -> Timestamp + Sync),
) -> Result<ReplaySummary, ReplayError> {
    let mut stop = pin!(stop);
    let prepared = tokio::select! {
        biased;
        () = &mut stop => None,
        prepared = prepare(client, &options) => Some(prepared?),
    };
    let Some(table) = prepared else {
        return Ok(nothing_sent(&options.stream, true));
    };
    let records = options.records(table.rows.len() as u64);
    let expected = expected_duration(records, options.rate);
    let times = EventTimes::plan(clock(), options.speed, options.start_time, expected)?;
    observer.started(&Plan {
        stream: options.stream.clone(),
        rows: table.rows.len(),
        row_bytes: table.rows.len() * BYTES_PER_ROW,
        tickers: table.tickers.len(),
        records,
        expected,
        first_event_time: times.start(),
    });
    let manner = Manner {
        stream: options.stream.clone(),
        rate: options.rate,
        retry: options.retry,
        records,
    };
    let mut load = Rows {
        table: &table,
        times,
        clock,
    };
    drive(client, &manner, &mut load, observer, stop).await
}

/// The rows of a table as ticks, stamped as they are sent.
struct Rows<'a> {
    table: &'a Table,
    times: EventTimes,
    clock: &'a (dyn Fn() -> Timestamp + Sync),
}

impl Load for Rows<'_> {
    fn places(&self) -> usize {
        self.table.rows.len()
    }

    fn keys(&self) -> &[String] {
        &self.table.tickers
    }

    fn lane(&self, place: usize) -> TickerId {
        self.table.rows.get(place).map_or(0, |row| row.ticker)
    }

    fn record(&mut self, place: usize, elapsed: Duration) -> (Bytes, Timestamp) {
        let time = self.times.at(elapsed, (self.clock)());
        let row = self.table.rows.get(place);
        let ticker = row.and_then(|row| self.table.tickers.get(row.ticker as usize));
        let bytes = row
            .zip(ticker)
            .map(|(row, ticker)| tick::encode(ticker, row, time));
        (bytes.unwrap_or_default(), time)
    }

    fn delivered(&mut self, _: usize) {}
}

async fn prepare(client: &Client, options: &ReplayOptions) -> Result<Table, ReplayError> {
    let read = ReadOptions {
        format: options.format,
        columns: options.columns.clone(),
        tickers: options.tickers.clone(),
        max_rows: options.max_rows,
    };
    let table = rows::read(&options.input, &read).await?;
    if let Some(shards) = options.create_shards {
        ensure_stream(client, &options.stream, shards).await?;
    }
    Ok(table)
}
