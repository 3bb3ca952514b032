//! The fastest way to read a record: a template of records of one length.
//!
//! Owns templates: of one shape ([`super::shape`]) and length, with every field at the same place. Whether a record is one of
//! them is seen at once, many bytes at a time; then its fields need not be looked for. A template accepts nothing that
//! its shape doesn't: what varies is checked where it is read, and a digit for a digit is all that may vary in a number.

use super::Role;
use super::ahead::{Ahead, Moments};
use super::digits::upto_eight;
use super::shape::{EXACT, Field, Kind, Number, POWERS, Shape, is_plain};
use crate::plan::{MAX_ID_BYTES, MAX_TICKER_BYTES};

/// A record of one length, with every field at a place of its own.
#[derive(Debug)]
pub(super) struct Template {
    length: usize,
    /// Eight bytes at a time; the last eight may overlap those before.
    words: Vec<Word>,
    last: Word,
    steps: Vec<Step>,
}

/// Eight bytes of a record: those under the mask are the same in every one.
#[derive(Clone, Copy, Debug)]
struct Word {
    bytes: u64,
    mask: u64,
}

impl Word {
    fn of(record: [u8; 8], varies: [bool; 8]) -> Self {
        let mask = u64::from_le_bytes(varies.map(|varies| if varies { 0 } else { 0xff }));
        Word {
            bytes: u64::from_le_bytes(record) & mask,
            mask,
        }
    }

    /// What differs, if anything.
    fn difference(self, record: [u8; 8]) -> u64 {
        (u64::from_le_bytes(record) & self.mask) ^ self.bytes
    }
}

/// A field's place, and what is done with it there.
#[derive(Clone, Copy, Debug)]
struct Step {
    start: usize,
    end: usize,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    /// A text that nobody asks for.
    Text,
    Ticker,
    EventTime,
    TradeDate,
    Id,
    /// A number that nobody asks for.
    Digits(Digits),
    /// It is checked, and kept where the index says.
    Number(Digits, Option<usize>),
    Volume(Digits, Option<usize>),
    NumberAsId(Digits),
}

/// How a number is written.
#[derive(Clone, Copy, Debug)]
struct Digits {
    negative: bool,
    /// Digits before the point.
    whole: usize,
    /// Digits after it, if there is one.
    decimals: Option<usize>,
}

impl Template {
    /// The template of a record that the shape reads; `None` when it is too short to pay.
    pub(super) fn of(shape: &Shape, record: &[u8], volume: Option<usize>) -> Option<Self> {
        let (mut steps, mut varies, mut at) = (Vec::new(), vec![false; record.len()], 0);
        for field in &shape.fields {
            at += field.before.len();
            let rest = record.get(at..)?;
            let (length, digits) = match field.kind {
                Kind::Text => (rest.iter().position(|byte| *byte == b'"')?, None),
                Kind::Number => {
                    let (number, after) = Number::read(rest)?;
                    let length = rest.len() - after.len();
                    (length, Some(Digits::of(&number, length)))
                }
            };
            for (byte, varies) in rest.iter().zip(&mut varies[at..]).take(length) {
                *varies = digits.is_none() || byte.is_ascii_digit();
            }
            let (start, end) = (at, at + length);
            steps.extend(whats(field, digits, volume)?.map(|what| Step { start, end, what }));
            at = end;
        }
        let (words, _) = record.as_chunks::<8>();
        let (masks, _) = varies.as_chunks::<8>();
        let words = words.iter().zip(masks);
        Some(Template {
            length: record.len(),
            words: words
                .map(|(bytes, varies)| Word::of(*bytes, *varies))
                .collect(),
            last: Word::of(*record.last_chunk()?, *varies.last_chunk()?),
            steps,
        })
    }

    /// True when the record has this length, and is the same wherever records of the template are.
    pub(super) fn fits(&self, record: &[u8]) -> bool {
        let (true, Some(last)) = (record.len() == self.length, record.last_chunk()) else {
            return false;
        };
        let (words, _) = record.as_chunks::<8>();
        let difference = words
            .iter()
            .zip(&self.words)
            .fold(self.last.difference(*last), |all, (bytes, word)| {
                all | word.difference(*bytes)
            });
        difference == 0
    }

    /// Reads a record that fits. `None` when a field isn't as plain as it must be; the numbers may then hold anything.
    pub(super) fn read<'a>(
        &self,
        record: &'a [u8],
        moments: &mut Moments,
        numbers: &mut [f64],
    ) -> Option<Ahead<'a>> {
        let (mut ticker, mut event_time, mut trade_date, mut id) = (None, None, None, None);
        for Step { start, end, what } in &self.steps {
            let (start, end) = (*start, *end);
            let token = record.get(start..end)?;
            match *what {
                What::Text => {
                    if !is_plain(token) {
                        return None;
                    }
                }
                What::Ticker => {
                    let fits = (1..=MAX_TICKER_BYTES).contains(&token.len());
                    ticker = Some((fits && is_plain(token)).then_some(token)?);
                }
                What::EventTime => event_time = Some(moments.instant(token)?),
                What::TradeDate => trade_date = Some(moments.date(token)?),
                What::Id => {
                    let fits = (1..=MAX_ID_BYTES).contains(&token.len());
                    id = Some((fits && is_plain(token)).then_some(token)?);
                }
                What::Digits(digits) => drop(digits.read(record, start, end)?),
                What::Number(digits, index) => {
                    let value = digits.value(record, start, end)?;
                    if let Some(index) = index {
                        *numbers.get_mut(index)? = value;
                    }
                }
                What::Volume(digits, index) => {
                    let value = digits.value(record, start, end)?;
                    if digits.decimals.is_some() && value.fract() != 0.0 {
                        return None;
                    }
                    if let Some(index) = index {
                        *numbers.get_mut(index)? = value;
                    }
                }
                What::NumberAsId(digits) => {
                    if digits.read(record, start, end)? > EXACT {
                        return None;
                    }
                    id = Some(token);
                }
            }
        }
        Some(Ahead {
            ticker: ticker?,
            event_time: event_time?,
            trade_date,
            id,
        })
    }
}

/// What is done with a field: a thing for each role, or a look at whether it is sound. `None` when its records are none.
fn whats(
    field: &Field,
    digits: Option<Digits>,
    volume: Option<usize>,
) -> Option<impl Iterator<Item = What>> {
    let mut whats = Vec::new();
    for role in &field.roles {
        whats.push(match (*role, digits) {
            (Role::Ticker, None) => What::Ticker,
            (Role::EventTime, None) => What::EventTime,
            (Role::TradeDate, None) => What::TradeDate,
            (Role::Id, None) => What::Id,
            (Role::Number(index), Some(digits)) => What::Number(digits, index),
            (Role::Volume, Some(digits)) => What::Volume(digits, volume),
            (Role::Id, Some(digits)) if !digits.negative && digits.decimals.is_none() => {
                What::NumberAsId(digits)
            }
            _ => return None,
        });
    }
    if whats.is_empty() {
        whats.push(digits.map_or(What::Text, What::Digits));
    }
    Some(whats.into_iter())
}

impl Digits {
    fn of(number: &Number, length: usize) -> Self {
        let point = usize::from(number.decimals.is_some());
        let others = usize::from(number.negative) + point + number.decimals.unwrap_or(0);
        Digits {
            negative: number.negative,
            whole: length - others,
            decimals: number.decimals,
        }
    }

    /// The digits that stand here, without the point; more than [`EXACT`] when there are too many. `None` when there is
    /// anything else, or a zero before other digits.
    fn read(self, record: &[u8], start: usize, end: usize) -> Option<u64> {
        let decimals = self.decimals.unwrap_or(0);
        let first = start + usize::from(self.negative);
        if self.whole > 1 && record.get(first) == Some(&b'0') {
            return None;
        }
        if self.whole > 8 || decimals > 8 {
            let (number, after) = Number::read(record.get(start..end)?)?;
            return (after.is_empty() && number.decimals == self.decimals).then_some(number.digits);
        }
        let whole = upto_eight(record, first + self.whole, self.whole)?;
        if decimals == 0 {
            return Some(whole);
        }
        let fraction = upto_eight(record, end, decimals)?;
        Some(whole * 10u64.pow(u32::try_from(decimals).ok()?) + fraction)
    }

    fn value(self, record: &[u8], start: usize, end: usize) -> Option<f64> {
        let digits = self.read(record, start, end)?;
        if digits > EXACT {
            return None;
        }
        #[allow(clippy::cast_precision_loss, reason = "at most 2^53")]
        let whole = digits as f64;
        let value = match self.decimals {
            Some(decimals) => whole / POWERS.get(decimals)?,
            None => whole,
        };
        Some(if self.negative { -value } else { value })
    }
}
