//! Receipts: which dead letters a stream has got.
//!
//! Owns the form of receipts and when they are written. A receipt is created once and never changed; what was sent is
//! the sum of all receipts of a stream's life. Must never take an unreadable receipt for an empty one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use stockstream_core::layout::replay_receipt;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{MissedTickBehavior, interval};

use super::super::ReplayError;
use super::select::LetterFile;
use crate::storage::{Created, Store};

/// A delivery waits no longer for its receipt.
pub(super) const INTERVAL: Duration = Duration::from_secs(2);

/// Deliveries that make a receipt before its time.
const MARKS_PER_RECEIPT: usize = 10_000;

/// The form of receipts.
const FORMAT: u32 = 1;

/// A letter's place: file and line, both counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark {
    pub(super) file: u32,
    pub(super) line: u32,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Receipt {
    format: u32,
    stream_arn: String,
    files: BTreeMap<String, FileReceipt>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct FileReceipt {
    /// The file's size.
    bytes: u64,
    /// First and last line of each run of lines, counted from 0.
    lines: Vec<(u32, u32)>,
}

/// What was sent before, by file name.
#[derive(Debug, Default)]
pub(super) struct Sent {
    files: BTreeMap<String, (u64, BTreeSet<u32>)>,
}

impl Sent {
    /// The size that a file had when letters of it were sent; `None` when none were.
    pub(super) fn size(&self, file: &str) -> Option<u64> {
        self.files.get(file).map(|(bytes, _)| *bytes)
    }

    /// True when a letter was sent.
    pub(super) fn contains(&self, file: &str, line: u32) -> bool {
        self.files
            .get(file)
            .is_some_and(|(_, lines)| lines.contains(&line))
    }

    fn add(&mut self, receipt: Receipt) {
        for (name, file) in receipt.files {
            let (_, lines) = self
                .files
                .entry(name)
                .or_insert((file.bytes, BTreeSet::new()));
            for (first, last) in file.lines {
                lines.extend(first..=last);
            }
        }
    }
}

/// The receipts of one stream's life.
#[derive(Debug)]
pub(super) struct Receipts {
    store: Store,
    folder: String,
    stream_arn: String,
}

impl Receipts {
    pub(super) fn new(store: Store, folder: String, stream_arn: String) -> Self {
        Receipts {
            store,
            folder,
            stream_arn,
        }
    }

    /// What all receipts say.
    ///
    /// # Errors
    /// [`ReplayError::Store`], [`ReplayError::BadReceipt`].
    pub(super) async fn read(&self) -> Result<Sent, ReplayError> {
        let mut sent = Sent::default();
        for object in self.store.list(&self.folder).await? {
            let bytes = self.store.get(&object.key).await?.unwrap_or_default();
            let receipt = self
                .decode(&bytes)
                .map_err(|problem| ReplayError::BadReceipt {
                    url: self.store.url_of(&object.key),
                    problem,
                })?;
            // Another account's or region's stream of the same name, made in the same millisecond.
            if receipt.stream_arn == self.stream_arn {
                sent.add(receipt);
            }
        }
        Ok(sent)
    }

    fn decode(&self, bytes: &[u8]) -> Result<Receipt, String> {
        let receipt: Receipt = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if receipt.format != FORMAT {
            let found = receipt.format;
            return Err(format!(
                "its format is {found}, this release reads {FORMAT}"
            ));
        }
        let is_sound =
            |file: &FileReceipt, &(first, last)| first <= last && u64::from(last) < file.bytes;
        let mut files = receipt.files.values();
        match files.all(|file| file.lines.iter().all(|lines| is_sound(file, lines))) {
            true => Ok(receipt),
            false => Err("it names lines that its files can't have".to_owned()),
        }
    }

    /// Writes a first, empty receipt: that receipts can be written must be known before anything is sent.
    ///
    /// # Errors
    /// [`ReplayError::Store`].
    pub(super) async fn begin(self, files: &[LetterFile]) -> Result<Writer<'_>, ReplayError> {
        let random =
            getrandom::u64().map_err(|error| ReplayError::NoRandomness(error.to_string()))?;
        let now = jiff::Timestamp::now().as_millisecond();
        let mut writer = Writer {
            receipts: self,
            files,
            run: format!("{now}-{random:016x}"),
            next: 0,
        };
        writer.create(&BTreeSet::new()).await?;
        Ok(writer)
    }
}

/// The receipts of one run.
pub(super) struct Writer<'a> {
    receipts: Receipts,
    files: &'a [LetterFile],
    run: String,
    next: u64,
}

impl Writer<'_> {
    /// Writes receipts of what comes in, until nothing more can come.
    ///
    /// # Errors
    /// [`ReplayError::Store`]: the run must stop.
    pub(super) async fn write(
        mut self,
        mut delivered: UnboundedReceiver<Mark>,
    ) -> Result<(), ReplayError> {
        let mut due = interval(INTERVAL);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pending = BTreeSet::new();
        loop {
            let (now, more) = tokio::select! {
                mark = delivered.recv() => {
                    pending.extend(mark);
                    (mark.is_none() || pending.len() >= MARKS_PER_RECEIPT, mark.is_some())
                }
                _ = due.tick() => (true, true),
            };
            if now && !pending.is_empty() {
                self.create(&pending).await?;
                pending.clear();
            }
            if !more {
                return Ok(());
            }
        }
    }

    async fn create(&mut self, marks: &BTreeSet<Mark>) -> Result<(), ReplayError> {
        let receipt = Receipt {
            format: FORMAT,
            stream_arn: self.receipts.stream_arn.clone(),
            files: runs(self.files, marks),
        };
        let bytes =
            serde_json::to_vec(&receipt).map_err(|error| ReplayError::Encode(error.to_string()))?;
        let key = replay_receipt(&self.receipts.folder, &self.run, self.next);
        self.next += 1;
        match self.receipts.store.create(&key, bytes.into()).await? {
            Created::New | Created::AlreadyOurs => Ok(()),
            Created::Exists(_) => Err(ReplayError::BadReceipt {
                url: self.receipts.store.url_of(&key),
                problem: "another run wrote it under this run's random name".to_owned(),
            }),
        }
    }
}

fn runs(files: &[LetterFile], marks: &BTreeSet<Mark>) -> BTreeMap<String, FileReceipt> {
    let mut by_file: BTreeMap<String, FileReceipt> = BTreeMap::new();
    for mark in marks {
        let Some(file) = files.get(mark.file as usize) else {
            continue;
        };
        let receipt = by_file.entry(file.name.clone()).or_insert(FileReceipt {
            bytes: file.bytes,
            lines: Vec::new(),
        });
        match receipt.lines.last_mut() {
            Some((_, last)) if *last + 1 == mark.line => *last = mark.line,
            _ => receipt.lines.push((mark.line, mark.line)),
        }
    }
    by_file
}
