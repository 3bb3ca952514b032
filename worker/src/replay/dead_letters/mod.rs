//! `stockstream replay --dead-letters`: sends what a pipeline could not use again, once it can.
//!
//! Owns which letters are sent, in which order, and the receipts that keep a second run from sending them again. Reads the
//! rejects output, whose form [`crate::sink`] owns. Must never change or delete a file of dead letters.
//!
//! **What is promised.** A letter whose delivery has a receipt is not sent again into the same stream. Receipts are
//! written while a run goes on, at the latest [`receipts::INTERVAL`] after the delivery, and at its end however it ends;
//! only a run that is killed leaves letters without one, and the next run sends those again. So does a call that was not
//! answered, as with every producer.

mod receipts;
mod select;
mod summary;

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use aws_sdk_kinesis::Client;
use bytes::Bytes;
use jiff::Timestamp;
use stockstream_core::layout::{DEAD_LETTERS, DEAD_LETTERS_SUFFIX, Incarnation, replay_receipts};
use stockstream_core::plan::RecordMapping;
use stockstream_core::row::DeadReason;
use tokio::sync::{Notify, mpsc};

use super::ReplayError;
use super::drive::{Load, Manner, drive, nothing_sent};
use super::lanes::TickerId;
use super::options::RetryPolicy;
use super::pace::Rate;
use super::progress::{Observer, Plan};
use super::put::{ensure_stream, identity};
use crate::storage::{Store, StoreOptions};
use receipts::{Mark, Receipts, Sent};
use select::{Letter, Selection, Selector};

pub use summary::{DeadLetterSummary, MalformedLine};

/// What to send again, where to, and how.
#[derive(Clone, Debug)]
pub struct DeadLetterOptions {
    /// A rejects path, its folder of dead letters, or one file of it; `file://` or `s3://`.
    pub url: String,
    /// The stream's name.
    pub stream: String,
    /// How ticks are read now: finds each letter's ticker, and tells what still can't be used.
    pub mapping: RecordMapping,
    /// The reasons to keep; all when empty.
    pub reasons: BTreeSet<DeadReason>,
    /// The tickers to keep; all when empty.
    pub tickers: BTreeSet<String>,
    /// Records per second.
    pub rate: Rate,
    /// The largest number of letters to send.
    pub limit: Option<u64>,
    /// Create the stream with this many shards if it is not there.
    pub create_shards: Option<u16>,
    /// Say what would be sent, and send and write nothing.
    pub dry_run: bool,
    /// Send also what has a receipt.
    pub again: bool,
    /// Send also what the mapping still can't use, with its old shard's name as the partition key.
    pub unusable: bool,
    /// How failed records are sent again.
    pub retry: RetryPolicy,
    /// How the store of the letters is opened.
    pub store: StoreOptions,
}

/// Sends dead letters to a stream until all are delivered or `stop` is ready.
///
/// All letters are read first, so an error about them means that nothing was sent.
///
/// # Errors
/// See [`ReplayError`]. What was delivered before an error has its receipt.
pub async fn run(
    client: &Client,
    options: DeadLetterOptions,
    observer: &mut dyn Observer,
    stop: impl Future<Output = ()> + Send,
) -> Result<DeadLetterSummary, ReplayError> {
    let mut stop = pin!(stop);
    let prepared = tokio::select! {
        biased;
        () = &mut stop => return Ok(DeadLetterSummary::stopped_early(&options)),
        prepared = prepare(client, &options) => prepared?,
    };
    let Prepared {
        selection,
        receipts,
    } = prepared;
    let mut summary = DeadLetterSummary::of(&options, &selection);
    if options.dry_run || selection.letters.is_empty() {
        summary.replay = nothing_sent(&options.stream, false);
        return Ok(summary);
    }
    observer.started(&plan(&options, &selection));
    let (marks, delivered) = mpsc::unbounded_channel();
    let failed = Notify::new();
    let first = receipts.begin(&selection.files).await?;
    let writing = async {
        let written = first.write(delivered).await;
        if written.is_err() {
            failed.notify_one();
        }
        written
    };
    let sending = async {
        let manner = Manner {
            stream: options.stream.clone(),
            rate: options.rate,
            retry: options.retry,
            records: Some(selection.letters.len() as u64),
        };
        // Dropped with the channel's end when all is answered: that ends the writing.
        let mut load = LetterLoad {
            selection: &selection,
            marks,
        };
        let ended = pin!(async {
            tokio::select! {
                () = &mut stop => {}
                () = failed.notified() => {}
            }
        });
        drive(client, &manner, &mut load, observer, ended).await
    };
    let (sent, written) = tokio::join!(sending, writing);
    summary.replay = sent?;
    written?;
    Ok(summary)
}

struct Prepared {
    selection: Selection,
    receipts: Receipts,
}

async fn prepare(client: &Client, options: &DeadLetterOptions) -> Result<Prepared, ReplayError> {
    let (folder, names) = find(options).await?;
    if let Some(shards) = options.create_shards
        && !options.dry_run
    {
        ensure_stream(client, &options.stream, shards).await?;
    }
    let identity = identity(client, &options.stream).await?;
    let incarnation = Incarnation::of_stream(identity.created_millis);
    let receipts = Receipts::new(
        folder.clone(),
        replay_receipts(&options.stream, &incarnation),
        identity.arn,
    );
    let sent = match options.again {
        true => Sent::default(),
        false => receipts.read().await?,
    };
    let mut selector = Selector::new(options, &sent);
    for name in names {
        // Listed a moment ago: gone by now means that somebody tidies up, and nothing of it is sent.
        if let Some(bytes) = folder.get(&name).await? {
            selector.add(&folder.url_of(&name), &name, &bytes)?;
        }
    }
    Ok(Prepared {
        selection: selector.finish(),
        receipts,
    })
}

/// The folder of the dead letters, and the files in it that are meant.
async fn find(options: &DeadLetterOptions) -> Result<(Store, Vec<String>), ReplayError> {
    let url = options.url.trim_end_matches('/');
    if let Some((parent, name)) = url.rsplit_once('/')
        && name.ends_with(DEAD_LETTERS_SUFFIX)
    {
        let folder = Store::open(parent, &options.store).await?;
        return match folder.head(name).await? {
            Some(_) => Ok((folder, vec![name.to_owned()])),
            None => Err(ReplayError::NoDeadLetters {
                url: url.to_owned(),
            }),
        };
    }
    let mut folders = vec![Store::open(url, &options.store).await?];
    // A directory that isn't there can't be opened.
    folders.extend(Store::open(&format!("{url}/{DEAD_LETTERS}"), &options.store).await);
    for folder in folders {
        let listed = folder.list("").await?;
        let names: Vec<String> = listed
            .into_iter()
            .map(|object| object.key)
            .filter(|key| !key.contains('/') && !key.starts_with(['_', '.']))
            .filter(|key| key.ends_with(DEAD_LETTERS_SUFFIX))
            .collect();
        if !names.is_empty() {
            return Ok((folder, names));
        }
    }
    Err(ReplayError::NoDeadLetters {
        url: url.to_owned(),
    })
}

fn plan(options: &DeadLetterOptions, selection: &Selection) -> Plan {
    let records = selection.letters.len() as u64;
    Plan {
        stream: options.stream.clone(),
        rows: selection.letters.len(),
        row_bytes: selection.bytes,
        tickers: selection.keys.len(),
        records: Some(records),
        expected: super::event_time::expected_duration(Some(records), options.rate),
        first_event_time: selection
            .letters
            .first()
            .map_or(Timestamp::UNIX_EPOCH, |letter| letter.time),
    }
}

struct LetterLoad<'a> {
    selection: &'a Selection,
    marks: mpsc::UnboundedSender<Mark>,
}

impl LetterLoad<'_> {
    fn letter(&self, place: usize) -> Option<&Letter> {
        self.selection.letters.get(place)
    }
}

impl Load for LetterLoad<'_> {
    fn places(&self) -> usize {
        self.selection.letters.len()
    }

    fn keys(&self) -> &[String] {
        &self.selection.keys
    }

    fn lane(&self, place: usize) -> TickerId {
        self.letter(place).map_or(0, |letter| letter.lane)
    }

    fn record(&mut self, place: usize, _: Duration) -> (Bytes, Timestamp) {
        let letter = self.letter(place);
        letter.map_or_else(Default::default, |letter| {
            (letter.data.clone(), letter.time)
        })
    }

    fn delivered(&mut self, place: usize) {
        if let Some(letter) = self.letter(place) {
            // Without a writer the run is being stopped for that very reason.
            let _ = self.marks.send(letter.mark);
        }
    }
}

#[cfg(test)]
mod tests;
