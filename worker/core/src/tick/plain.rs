//! Reading a record by the shape it is expected to have.
//!
//! Owns what the pieces of a record are compared with, eight bytes at a time, and how its numbers are read. What is expected
//! of the next record (that its texts are as long as those before) changes only how fast it is read.

use super::ahead::{Ahead, Moments};
use super::digits::{eight, is_plain, upto_point};
use crate::plan::{MAX_ID_BYTES, MAX_TICKER_BYTES};

/// Integers up to this are doubles exactly, and scaled by a power of ten up to 10^22 they are rounded once, as a decimal
/// is (Clinger 1990, "How to read floating point numbers accurately").
const EXACT: u64 = 1 << 53;

/// So many digits make no more than a `u64` holds.
const WRAPS_NOT: usize = 19;

/// The powers of ten that are doubles exactly.
pub(super) const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// Bytes that are the same in every record of a shape.
#[derive(Debug)]
pub(super) struct Literal {
    bytes: Box<[u8]>,
    ends: Ends,
}

/// The first bytes of a literal and its last, which may overlap, when they are all.
#[derive(Clone, Copy, Debug)]
enum Ends {
    Eight(u64, u64),
    Four(u32, u32),
    One(u8),
    /// There are more, or fewer.
    Other,
}

impl Ends {
    #[inline]
    fn of(bytes: &[u8]) -> Self {
        if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
            return Ends::Eight(u64::from_le_bytes(*first), u64::from_le_bytes(*last));
        }
        if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
            return Ends::Four(u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        }
        match bytes {
            [byte] => Ends::One(*byte),
            _ => Ends::Other,
        }
    }
}

impl Literal {
    pub(super) fn new(bytes: &[u8]) -> Self {
        Literal {
            ends: if bytes.len() <= 16 {
                Ends::of(bytes)
            } else {
                Ends::Other
            },
            bytes: bytes.into(),
        }
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where the literal ends that begins at `at`; `None` when another text stands there.
    #[inline]
    fn skip(&self, record: &[u8], at: usize) -> Option<usize> {
        let end = at + self.bytes.len();
        let there = record.get(at..end)?;
        let is_same = match (self.ends, Ends::of(there)) {
            (Ends::Eight(first, last), Ends::Eight(a, b)) => (first ^ a) | (last ^ b) == 0,
            (Ends::Four(first, last), Ends::Four(a, b)) => (first ^ a) | (last ^ b) == 0,
            (Ends::One(byte), Ends::One(a)) => byte == a,
            _ => *there == *self.bytes,
        };
        is_same.then_some(end)
    }
}

/// A field, and the text before it.
#[derive(Debug)]
pub(super) struct Field {
    before: Literal,
    value: Value,
}

#[derive(Debug)]
enum Value {
    /// Between quotes, which belong to the literals around it.
    Text {
        uses: Box<[TextUse]>,
        /// How long it was in the record before.
        expected: usize,
    },
    Number {
        uses: Box<[NumberUse]>,
    },
}

/// What a text is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextUse {
    Ticker,
    EventTime,
    TradeDate,
    Id,
}

/// What a number is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NumberUse {
    /// A double that is kept where the index says, or only looked at.
    Double(Option<usize>),
    /// The same, and a whole number.
    Whole(Option<usize>),
    Id,
}

impl Field {
    /// A text with these uses; `length` of it is expected.
    pub(super) fn text(before: &[u8], uses: Vec<TextUse>, length: usize) -> Self {
        let value = Value::Text {
            uses: uses.into(),
            expected: length,
        };
        let before = Literal::new(before);
        Field { before, value }
    }

    /// A number with these uses.
    pub(super) fn number(before: &[u8], uses: Vec<NumberUse>) -> Self {
        let value = Value::Number { uses: uses.into() };
        let before = Literal::new(before);
        Field { before, value }
    }
}

/// Reads a record of these fields at the begin of a text, and says where it ends. `None` when none stands there, or a field
/// isn't as plain as it must be; the numbers may then hold anything.
pub(super) fn read<'a>(
    fields: &mut [Field],
    end: &Literal,
    record: &'a [u8],
    moments: &mut Moments,
    numbers: &mut [f64],
) -> Option<(Ahead<'a>, usize)> {
    let (mut ticker, mut event_time, mut trade_date, mut id) = (None, None, None, None);
    let mut at = 0;
    for field in fields {
        let begin = field.before.skip(record, at)?;
        match &mut field.value {
            Value::Text { uses, expected } => {
                if record.get(begin + *expected) != Some(&b'"') {
                    *expected = record[begin..].iter().position(|byte| *byte == b'"')?;
                }
                at = begin + *expected;
                let text = record.get(begin..at)?;
                match uses.as_ref() {
                    // These look at every byte themselves.
                    [TextUse::EventTime] => event_time = Some(moments.instant(text)?),
                    [TextUse::TradeDate] => trade_date = Some(moments.date(text)?),
                    uses => {
                        if !is_plain(text) {
                            return None;
                        }
                        let fits = |most| (1..=most).contains(&text.len()).then_some(text);
                        for kind in uses {
                            match kind {
                                TextUse::Ticker => ticker = Some(fits(MAX_TICKER_BYTES)?),
                                TextUse::EventTime => event_time = Some(moments.instant(text)?),
                                TextUse::TradeDate => trade_date = Some(moments.date(text)?),
                                TextUse::Id => id = Some(fits(MAX_ID_BYTES)?),
                            }
                        }
                    }
                }
            }
            Value::Number { uses } => {
                let number = Number::read(record, begin)?;
                at = number.end;
                for kind in uses.iter() {
                    match *kind {
                        NumberUse::Double(None) => number.is_exact().then_some(())?,
                        NumberUse::Double(Some(index)) => {
                            *numbers.get_mut(index)? = number.value()?;
                        }
                        NumberUse::Whole(index) => {
                            let value = number.value()?;
                            if number.decimals.is_some() && value.fract() != 0.0 {
                                return None;
                            }
                            if let Some(index) = index {
                                *numbers.get_mut(index)? = value;
                            }
                        }
                        NumberUse::Id => {
                            if number.negative || number.decimals.is_some() || number.digits > EXACT
                            {
                                return None;
                            }
                            id = Some(record.get(begin..at)?);
                        }
                    }
                }
            }
        }
    }
    let end = end.skip(record, at)?;
    let ahead = Ahead {
        ticker: ticker?,
        event_time: event_time?,
        trade_date,
        id,
    };
    Some((ahead, end))
}

/// A field's place in a record.
pub(super) struct Layout<'a> {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) texts: &'a [TextUse],
    /// How it is written, if it is a number.
    pub(super) number: Option<NumberLayout<'a>>,
}

/// How a number is written.
pub(super) struct NumberLayout<'a> {
    pub(super) is_negative: bool,
    /// Digits before the point.
    pub(super) whole: usize,
    /// Digits after it, if there is one.
    pub(super) decimals: Option<usize>,
    pub(super) uses: &'a [NumberUse],
}

/// Where the fields of a record stand that [`read`] has read.
pub(super) fn layout_of<'a>(
    fields: &'a [Field],
    end: &Literal,
    record: &[u8],
) -> Option<Vec<Layout<'a>>> {
    let (mut places, mut at) = (Vec::with_capacity(fields.len()), 0);
    for field in fields {
        let start = field.before.skip(record, at)?;
        let (texts, number): (&[TextUse], _) = match &field.value {
            Value::Text { uses, .. } => {
                let length = record.get(start..)?.iter().position(|byte| *byte == b'"')?;
                at = start + length;
                (uses, None)
            }
            Value::Number { uses } => {
                let number = Number::read(record, start)?;
                at = number.end;
                let point = usize::from(number.decimals.is_some());
                let others = usize::from(number.negative) + point + number.decimals.unwrap_or(0);
                let number = NumberLayout {
                    is_negative: number.negative,
                    whole: (at - start).checked_sub(others)?,
                    decimals: number.decimals,
                    uses,
                };
                (&[], Some(number))
            }
        };
        places.push(Layout {
            start,
            end: at,
            texts,
            number,
        });
    }
    (end.skip(record, at)? == record.len()).then_some(places)
}

/// A JSON number without an exponent (RFC 8259, section 6).
struct Number {
    negative: bool,
    /// Its digits without the point; more than [`EXACT`] when there are too many.
    digits: u64,
    /// Digits after the point; `None` without a point.
    decimals: Option<usize>,
    /// Where it ends.
    end: usize,
}

impl Number {
    /// The number that begins at `begin`. An exponent is what follows it: no shape has one there.
    #[inline]
    fn read(record: &[u8], begin: usize) -> Option<Self> {
        let negative = record.get(begin) == Some(&b'-');
        let first = begin + usize::from(negative);
        let Some(number) = upto_point(record, first) else {
            return Self::read_long(record, first, negative);
        };
        if number.whole > 1 && record.get(first) == Some(&b'0') {
            return None;
        }
        let (length, decimals) = match number.decimals {
            Some(0) => return None,
            Some(decimals) => (number.whole + 1 + decimals, Some(decimals)),
            None => (number.whole, None),
        };
        Some(Number {
            negative,
            digits: eight(number.digits)?,
            decimals,
            end: first + length,
        })
    }

    fn read_long(record: &[u8], first: usize, negative: bool) -> Option<Self> {
        let mut digits = 0;
        let whole = take_digits(record.get(first..)?, 0, &mut digits)?;
        if whole > 1 && record.get(first) == Some(&b'0') {
            return None;
        }
        let (mut end, mut decimals) = (first + whole, None);
        if record.get(end) == Some(&b'.') {
            let taken = take_digits(record.get(end + 1..)?, whole, &mut digits)?;
            decimals = Some(taken);
            end += 1 + taken;
        }
        Some(Number {
            negative,
            digits,
            decimals,
            end,
        })
    }

    /// True when a double holds the digits and the power of ten.
    fn is_exact(&self) -> bool {
        self.digits <= EXACT && self.decimals.unwrap_or(0) < POWERS.len()
    }

    /// The double that is nearest; `None` when the digits or the power of ten are none.
    #[inline]
    fn value(&self) -> Option<f64> {
        if self.digits > EXACT {
            return None;
        }
        #[allow(clippy::cast_precision_loss, reason = "at most 2^53")]
        let whole = self.digits as f64;
        let value = match self.decimals {
            Some(decimals) => whole / POWERS.get(decimals)?,
            None => whole,
        };
        Some(if self.negative { -value } else { value })
    }
}

/// How many digits there are, at least one; they are added to those before, of which there are `before`.
fn take_digits(text: &[u8], before: usize, digits: &mut u64) -> Option<usize> {
    let mut count = 0;
    for byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        count += 1;
        *digits = digits.wrapping_mul(10).wrapping_add(u64::from(digit));
    }
    if before + count > WRAPS_NOT {
        *digits = u64::MAX;
    }
    (count > 0).then_some(count)
}
