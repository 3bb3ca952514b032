//! The fastest way to read a record: a template of records of one length.
//!
//! Owns templates: of one shape ([`super::shape`]) and length, with every field at the same place. Whether a record is one of
//! them is seen at once, many bytes at a time; then its fields need not be looked for. A template accepts nothing that
//! its shape doesn't: what varies is checked where it is read, and a digit for a digit is all that may vary in a number.

use super::Role;
use super::ahead::{Ahead, Moments};
use super::digits::{Last, is_plain};
use super::shape::{EXACT, Field, Kind, Number, POWERS, Shape};
use crate::plan::{MAX_ID_BYTES, MAX_TICKER_BYTES};

/// A record of one length, with every field at a place of its own.
#[derive(Debug)]
pub(super) struct Template {
    length: usize,
    /// Its bytes, eight at a time, and which of them are the same in every record. The last eight may overlap those before.
    words: Vec<u64>,
    masks: Vec<u64>,
    last: Word,
    steps: Vec<Step>,
    /// What each of the numbers that are kept is divided by: they are read as integers, and divided together.
    divisors: Vec<f64>,
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
    /// The power of ten of a number's last digit before the point; negative of a negative number.
    divisor: f64,
    /// When it has no more than eight bytes, without its sign.
    word: Option<Last>,
}

impl Template {
    /// The template of a record that the shape reads; `None` when it is too short to pay.
    pub(super) fn of(
        shape: &Shape,
        record: &[u8],
        volume: Option<usize>,
        numbers: usize,
    ) -> Option<Self> {
        let mut divisors = vec![1.0; numbers];
        let (mut steps, mut varies, mut at) = (Vec::new(), vec![false; record.len()], 0);
        for field in &shape.fields {
            at += field.before.len();
            let rest = record.get(at..)?;
            let (length, digits) = match field.kind {
                Kind::Text => (rest.iter().position(|byte| *byte == b'"')?, None),
                Kind::Number => {
                    let (number, after) = Number::read(rest)?;
                    let length = rest.len() - after.len();
                    (length, Some(Digits::of(&number, length)?))
                }
            };
            for (byte, varies) in rest.iter().zip(&mut varies[at..]).take(length) {
                *varies = digits.is_none() || byte.is_ascii_digit();
            }
            let (start, end) = (at, at + length);
            for what in whats(field, digits, volume)? {
                if let What::Number(digits, Some(index)) | What::Volume(digits, Some(index)) = &what
                {
                    *divisors.get_mut(*index)? = digits.divisor;
                }
                steps.push(Step { start, end, what });
            }
            at = end;
        }
        let (words, _) = record.as_chunks::<8>();
        let (masks, _) = varies.as_chunks::<8>();
        let words = words.iter().zip(masks);
        let words = words.map(|(bytes, varies)| Word::of(*bytes, *varies));
        Some(Template {
            length: record.len(),
            words: words.clone().map(|word| word.bytes).collect(),
            masks: words.map(|word| word.mask).collect(),
            last: Word::of(*record.last_chunk()?, *varies.last_chunk()?),
            steps,
            divisors,
        })
    }

    /// True when the record has this length, and is the same wherever records of the template are.
    pub(super) fn fits(&self, record: &[u8]) -> bool {
        let (true, Some(last)) = (record.len() == self.length, record.last_chunk()) else {
            return false;
        };
        let (words, _) = record.as_chunks::<8>();
        let own = self.words.iter().zip(&self.masks);
        let difference = words
            .iter()
            .zip(own)
            .fold(self.last.difference(*last), |all, (bytes, (word, mask))| {
                all | ((u64::from_le_bytes(*bytes) & mask) ^ word)
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
            let token = || record.get(start..end);
            match what {
                What::Text => {
                    if !is_plain(token()?) {
                        return None;
                    }
                }
                What::Ticker => {
                    let token = token()?;
                    let fits = (1..=MAX_TICKER_BYTES).contains(&token.len());
                    ticker = Some((fits && is_plain(token)).then_some(token)?);
                }
                What::EventTime => event_time = Some(moments.instant(token()?)?),
                What::TradeDate => trade_date = Some(moments.date(token()?)?),
                What::Id => {
                    let token = token()?;
                    let fits = (1..=MAX_ID_BYTES).contains(&token.len());
                    id = Some((fits && is_plain(token)).then_some(token)?);
                }
                What::Digits(digits) => drop(digits.read(record, start, end)?),
                What::Number(digits, index) => {
                    let undivided = digits.undivided(record, start, end)?;
                    if let Some(index) = *index {
                        *numbers.get_mut(index)? = undivided;
                    }
                }
                What::Volume(digits, index) => {
                    let undivided = digits.undivided(record, start, end)?;
                    if digits.decimals.is_some() && (undivided / digits.divisor).fract() != 0.0 {
                        return None;
                    }
                    if let Some(index) = *index {
                        *numbers.get_mut(index)? = undivided;
                    }
                }
                What::NumberAsId(digits) => {
                    if digits.read(record, start, end)? > EXACT {
                        return None;
                    }
                    id = Some(token()?);
                }
            }
        }
        for (number, divisor) in numbers.iter_mut().zip(&self.divisors) {
            *number /= divisor;
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
    /// `None` when the power of ten is no double.
    fn of(number: &Number, length: usize) -> Option<Self> {
        let decimals = number.decimals.unwrap_or(0);
        let point = usize::from(number.decimals.is_some());
        let whole = length - usize::from(number.negative) - point - decimals;
        let scale = *POWERS.get(decimals)?;
        Some(Digits {
            negative: number.negative,
            whole,
            decimals: number.decimals,
            divisor: if number.negative { -scale } else { scale },
            word: Last::new(whole, number.decimals),
        })
    }

    /// The digits that stand here, without the point; more than [`EXACT`] when there are too many. `None` when there is
    /// anything else, or a zero before other digits.
    #[inline]
    fn read(&self, record: &[u8], start: usize, end: usize) -> Option<u64> {
        let first = start + usize::from(self.negative);
        if self.whole > 1 && record.get(first) == Some(&b'0') {
            return None;
        }
        match &self.word {
            Some(word) => word.read(record, end),
            None => {
                let (number, after) = Number::read(record.get(start..end)?)?;
                let same = after.is_empty() && number.decimals == self.decimals;
                same.then_some(number.digits)
            }
        }
    }

    /// The same as a double, still to be divided.
    #[inline]
    fn undivided(&self, record: &[u8], start: usize, end: usize) -> Option<f64> {
        let digits = self.read(record, start, end)?;
        if digits > EXACT {
            return None;
        }
        #[allow(clippy::cast_precision_loss, reason = "at most 2^53")]
        Some(digits as f64)
    }
}
