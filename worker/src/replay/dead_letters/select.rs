//! Which letters are sent, and in which order.
//!
//! Pure: bytes of files in, letters out. The order is that of arrival at the old stream, and within a shard that of the
//! shard: a pipeline that reads them again sees event times as they came, with as few late ticks as then.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use stockstream_core::layout::place_of_dead_letters;
use stockstream_core::row::DeadReason;
use stockstream_core::tick::TickParser;
use stockstream_core::time::Micros;

use super::super::ReplayError;
use super::super::lanes::TickerId;
use super::receipts::{Mark, Sent};
use super::{DeadLetterOptions, MalformedLine};
use crate::sink::DeadLetterLine;

/// Bytes of letters held in memory, at most.
const MAX_BYTES: usize = 1 << 30;

/// Memory of a letter beside its bytes.
const BYTES_PER_LETTER: usize = 96;

/// Malformed lines that are told one by one.
const MALFORMED_TOLD: usize = 100;

/// A file of dead letters.
#[derive(Debug)]
pub(super) struct LetterFile {
    pub(super) name: String,
    pub(super) bytes: u64,
}

/// A letter to send.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) data: Bytes,
    pub(super) lane: TickerId,
    /// The tick's event time; its arrival where it has none.
    pub(super) time: Timestamp,
    pub(super) mark: Mark,
    reason: DeadReason,
    order: (Micros, u32, u32),
}

/// What is to be sent, and what became of all else.
#[derive(Debug, Default)]
pub(super) struct Selection {
    pub(super) files: Vec<LetterFile>,
    pub(super) letters: Vec<Letter>,
    /// Partition keys, by lane.
    pub(super) keys: Vec<String>,
    /// Memory of the letters.
    pub(super) bytes: usize,
    pub(super) lines: u64,
    pub(super) malformed: u64,
    pub(super) told: Vec<MalformedLine>,
    /// Of another reason or ticker than asked for, or beyond the limit.
    pub(super) passed_over: u64,
    pub(super) already_sent: u64,
    /// By the reason for which the mapping of now can't use them.
    pub(super) unusable: BTreeMap<&'static str, u64>,
    /// By the reason for which they were dead.
    pub(super) to_send: BTreeMap<&'static str, u64>,
}

/// Reads files one by one.
pub(super) struct Selector<'a> {
    options: &'a DeadLetterOptions,
    sent: &'a Sent,
    parser: TickParser,
    lanes: BTreeMap<String, TickerId>,
    chains: BTreeMap<String, u32>,
    places: Vec<(u32, u64)>,
    found: Selection,
}

impl<'a> Selector<'a> {
    pub(super) fn new(options: &'a DeadLetterOptions, sent: &'a Sent) -> Self {
        Selector {
            options,
            sent,
            parser: TickParser::new(&options.mapping, &[]),
            lanes: BTreeMap::new(),
            chains: BTreeMap::new(),
            places: Vec::new(),
            found: Selection::default(),
        }
    }

    /// Takes in a file.
    ///
    /// # Errors
    /// [`ReplayError::LettersChanged`], [`ReplayError::TooManyLetters`].
    pub(super) fn add(&mut self, url: &str, name: &str, bytes: &Bytes) -> Result<(), ReplayError> {
        let size = bytes.len() as u64;
        if let Some(expected) = self.sent.size(name).filter(|expected| *expected != size) {
            return Err(ReplayError::LettersChanged {
                url: url.to_owned(),
                found: size,
                expected,
            });
        }
        let (chain, version) = place_of_dead_letters(name);
        let next = u32::try_from(self.chains.len()).unwrap_or(u32::MAX);
        let chain = *self.chains.entry(chain.to_owned()).or_insert(next);
        self.places.push((chain, version));
        let file = u32::try_from(self.found.files.len()).unwrap_or(u32::MAX);
        self.found.files.push(LetterFile {
            name: name.to_owned(),
            bytes: size,
        });
        for (line, text) in (0..).zip(bytes.split(|byte| *byte == b'\n')) {
            if text.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            self.found.lines += 1;
            if let Err(problem) = self.line(name, Mark { file, line }, text)? {
                self.found.malformed += 1;
                if self.found.told.len() < MALFORMED_TOLD {
                    self.found.told.push(MalformedLine {
                        file: url.to_owned(),
                        line: u64::from(line) + 1,
                        problem,
                    });
                }
            }
        }
        Ok(())
    }

    /// Decides about one line; the inner error says why it isn't a dead letter.
    fn line(
        &mut self,
        name: &str,
        mark: Mark,
        text: &[u8],
    ) -> Result<Result<(), String>, ReplayError> {
        let read = match read(text) {
            Ok(read) => read,
            Err(problem) => return Ok(Err(problem)),
        };
        if self.sent.contains(name, mark.line) {
            self.found.already_sent += 1;
            return Ok(Ok(()));
        }
        let reasons = &self.options.reasons;
        let tickers = &self.options.tickers;
        let parsed = self.parser.parse(&read.data);
        let (key, time) = match &parsed {
            Ok(tick) => (tick.ticker.as_ref(), tick.event_time),
            Err(_) => (read.shard.as_str(), read.arrival),
        };
        let is_asked_for = (reasons.is_empty() || reasons.contains(&read.reason))
            && (tickers.is_empty() || parsed.is_ok() && tickers.contains(key));
        if !is_asked_for {
            self.found.passed_over += 1;
            return Ok(Ok(()));
        }
        if let Err(unusable) = &parsed
            && !self.options.unusable
        {
            *self
                .found
                .unusable
                .entry(unusable.reason.label())
                .or_default() += 1;
            return Ok(Ok(()));
        }
        let lane = match self.lanes.get(key) {
            Some(lane) => *lane,
            None => {
                let lane = TickerId::try_from(self.lanes.len()).unwrap_or(TickerId::MAX);
                self.found.keys.push(key.to_owned());
                self.lanes.insert(key.to_owned(), lane);
                lane
            }
        };
        self.found.bytes += read.data.len() + BYTES_PER_LETTER;
        if self.found.bytes > MAX_BYTES {
            return Err(ReplayError::TooManyLetters { limit: MAX_BYTES });
        }
        let chain = self.places.last().map_or(0, |(chain, _)| *chain);
        let letter = Letter {
            lane,
            time: Timestamp::from_microsecond(time.0).unwrap_or_default(),
            mark,
            reason: read.reason,
            order: (read.arrival, chain, 0),
            data: Bytes::from(read.data),
        };
        self.found.letters.push(letter);
        Ok(Ok(()))
    }

    /// Puts the letters in order, and keeps as many as asked for.
    pub(super) fn finish(self) -> Selection {
        let mut found = self.found;
        let place = |letter: &Letter| {
            let place = self.places.get(letter.mark.file as usize).copied();
            (place.unwrap_or_default(), letter.mark)
        };
        // Within a chain: by version, then as the lines stand. Arrivals of one shard may step back a little: they count
        // as not earlier than those before them, or a sort by arrival would change the shard's order.
        found.letters.sort_by_key(place);
        let mut last: Option<(u32, Micros)> = None;
        for (number, letter) in (0..).zip(&mut found.letters) {
            let (arrival, chain, _) = letter.order;
            let latest = match last {
                Some((before, latest)) if before == chain => latest.max(arrival),
                _ => arrival,
            };
            last = Some((chain, latest));
            letter.order = (latest, chain, number);
        }
        found.letters.sort_by_key(|letter| letter.order);
        if let Some(limit) = self.options.limit {
            let keep = usize::try_from(limit).unwrap_or(usize::MAX);
            found.passed_over += found.letters.len().saturating_sub(keep) as u64;
            found.letters.truncate(keep);
        }
        for letter in &found.letters {
            *found.to_send.entry(letter.reason.label()).or_default() += 1;
        }
        found
    }
}

struct Read {
    reason: DeadReason,
    shard: String,
    arrival: Micros,
    data: Vec<u8>,
}

/// Reads a line; the error says what is wrong with it.
fn read(text: &[u8]) -> Result<Read, String> {
    let line: DeadLetterLine<'_> =
        serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let reason = DeadReason::ALL
        .into_iter()
        .find(|reason| reason.label() == line.reason)
        .ok_or_else(|| format!("{:?} is no reason for a dead letter", line.reason))?;
    let arrival = Micros::parse(&line.arrival_time)
        .ok_or_else(|| format!("arrival_time {:?} is no time", line.arrival_time))?;
    let data = line
        .data()
        .map_err(|error| format!("data_base64 isn't base64: {error}"))?;
    Ok(Read {
        reason,
        shard: line.shard.into_owned(),
        arrival,
        data,
    })
}
