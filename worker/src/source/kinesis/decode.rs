//! Answers of GetRecords, read several times faster than the SDK reads them.
//!
//! Owns plain answers: the members that Kinesis sends, in any order, each once, with strings that hold no escape. What
//! isn't plain is left to the SDK's own decoder: an escape, a `null`, a member that isn't known, is missing or comes
//! twice, the children of a shard that has ended, and whatever is damaged. Must never accept what that decoder refuses,
//! nor give another value than it gives; `decode_tests` and `make fuzz` compare them.
//!
//! All data of an answer lies in one piece of memory, of which each record holds a part: who keeps one record for long
//! has to copy it.

use std::str;

use aws_sdk_kinesis::primitives::DateTime;
use base64_simd::STANDARD;
use bytes::Bytes;
use memchr::memchr;
use stockstream_core::sequence::SequenceNumber;
use stockstream_core::time::Micros;

use super::{Reply, StreamRecord};

/// Integers up to this are doubles exactly, and scaled by a power of ten up to 10^22 they are rounded once, as a decimal
/// is (Clinger 1990, "How to read floating point numbers accurately").
const EXACT: u64 = 1 << 53;

/// The powers of ten that are doubles exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// So many digits make no more than a `u64` holds.
const WRAPS_NOT: usize = 19;

/// The answer in a body of status 2xx; `None` when it isn't plain.
pub fn decode(body: &[u8]) -> Option<Reply> {
    let mut scan = Scan { rest: body };
    let (mut records, mut next, mut behind) = (None, None, None);
    scan.spaces();
    scan.byte(b'{')?;
    scan.spaces();
    loop {
        // By its first letter, so that only one name is compared.
        match *scan.rest.get(1)? {
            b'R' => {
                scan.key(br#""Records""#)?;
                once(&mut records, scan.records()?)?;
            }
            b'N' => {
                scan.key(br#""NextShardIterator""#)?;
                once(&mut next, scan.text()?.to_owned())?;
            }
            b'M' => {
                scan.key(br#""MillisBehindLatest""#)?;
                once(&mut behind, scan.integer()?)?;
            }
            _ => return None,
        }
        if !scan.goes_on(b'}')? {
            break;
        }
    }
    scan.spaces();
    scan.rest.is_empty().then_some(())?;
    Some(Reply {
        records: records?,
        next,
        millis_behind_latest: behind.unwrap_or(i64::MAX),
        children: Vec::new(),
    })
}

/// What comes a second time isn't plain: the SDK takes the last.
fn once<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

/// The data of the records so far, one after another.
struct Records {
    records: Vec<StreamRecord>,
    data: Vec<u8>,
    /// Where each record's data ends.
    ends: Vec<usize>,
}

impl Records {
    /// Room for as many as the rest of the body holds, should they be about as long as the first; less than the body takes.
    fn make_room(&mut self, first: usize, rest: usize) {
        let more = rest / first.max(1);
        let more = more + more / 16;
        self.records.reserve(more);
        self.ends.reserve(more);
        self.data.reserve(self.data.len().saturating_mul(more));
    }

    fn finish(self) -> Vec<StreamRecord> {
        let data = Bytes::from(self.data);
        let mut records = self.records;
        let mut begin = 0;
        for (record, end) in records.iter_mut().zip(self.ends) {
            record.data = data.slice(begin..end);
            begin = end;
        }
        records
    }
}

/// A walk over a body.
struct Scan<'a> {
    rest: &'a [u8],
}

impl<'a> Scan<'a> {
    fn byte(&mut self, expected: u8) -> Option<()> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        (*first == expected).then_some(())
    }

    #[inline]
    fn spaces(&mut self) {
        while let [b' ' | b'\t' | b'\n' | b'\r', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    /// Takes a key of this name, in quotes, and the colon after it.
    #[inline(always)]
    fn key(&mut self, quoted: &[u8]) -> Option<()> {
        self.rest = self.rest.strip_prefix(quoted)?;
        self.spaces();
        self.byte(b':')?;
        self.spaces();
        Some(())
    }

    /// Takes the comma before another element, or the end.
    #[inline]
    fn goes_on(&mut self, end: u8) -> Option<bool> {
        self.spaces();
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        match *first {
            b',' => {
                self.spaces();
                Some(true)
            }
            byte if byte == end => Some(false),
            _ => None,
        }
    }

    fn records(&mut self) -> Option<Vec<StreamRecord>> {
        let mut found = Records {
            records: Vec::new(),
            data: Vec::new(),
            ends: Vec::new(),
        };
        self.byte(b'[')?;
        self.spaces();
        if let Some(rest) = self.rest.strip_prefix(b"]") {
            self.rest = rest;
            return Some(Vec::new());
        }
        let before = self.rest.len();
        loop {
            self.record(&mut found)?;
            if found.ends.len() == 1 {
                found.make_room(before - self.rest.len(), self.rest.len());
            }
            if !self.goes_on(b']')? {
                return Some(found.finish());
            }
        }
    }

    fn record(&mut self, found: &mut Records) -> Option<()> {
        let (mut sequence, mut arrival, mut data) = (None, None, None);
        let (mut partition_key, mut encryption) = (None, None);
        self.byte(b'{')?;
        self.spaces();
        loop {
            match *self.rest.get(1)? {
                b'S' => {
                    self.key(br#""SequenceNumber""#)?;
                    let number = SequenceNumber::parse(self.text()?).ok()?;
                    once(&mut sequence, number)?;
                }
                b'A' => {
                    self.key(br#""ApproximateArrivalTimestamp""#)?;
                    once(&mut arrival, self.instant()?)?;
                }
                b'D' => {
                    self.key(br#""Data""#)?;
                    self.base64(&mut found.data)?;
                    once(&mut data, ())?;
                }
                b'P' => {
                    self.key(br#""PartitionKey""#)?;
                    self.ignored_text()?;
                    once(&mut partition_key, ())?;
                }
                b'E' => {
                    self.key(br#""EncryptionType""#)?;
                    self.ignored_text()?;
                    once(&mut encryption, ())?;
                }
                _ => return None,
            }
            if !self.goes_on(b'}')? {
                break;
            }
        }
        data?;
        found.ends.push(found.data.len());
        found.records.push(StreamRecord {
            sequence: sequence?,
            arrival: Micros::from_millis(arrival?),
            data: Bytes::new(),
        });
        Some(())
    }

    /// What stands between quotes, up to the next one.
    fn quoted(&mut self) -> Option<&'a [u8]> {
        self.byte(b'"')?;
        let end = memchr(b'"', self.rest)?;
        let (text, rest) = self.rest.split_at(end);
        self.rest = &rest[1..];
        Some(text)
    }

    /// A string without escapes.
    fn text(&mut self) -> Option<&'a str> {
        let text = self.quoted()?;
        if memchr(b'\\', text).is_some() {
            return None;
        }
        str::from_utf8(text).ok()
    }

    /// The same for a short one that nobody asks for, and which must be sound.
    fn ignored_text(&mut self) -> Option<()> {
        self.byte(b'"')?;
        let mut is_ascii = true;
        for (end, byte) in self.rest.iter().enumerate() {
            match byte {
                b'"' => {
                    let (text, rest) = self.rest.split_at(end);
                    self.rest = &rest[1..];
                    return (is_ascii || str::from_utf8(text).is_ok()).then_some(());
                }
                b'\\' => return None,
                byte => is_ascii &= byte.is_ascii(),
            }
        }
        None
    }

    /// The SDK decodes by the same function, so that padding and bits that are left over are judged alike.
    fn base64(&mut self, data: &mut Vec<u8>) -> Option<()> {
        let text = self.quoted()?;
        // It reserves no more than it needs, which would move what is there each time.
        data.reserve(text.len());
        STANDARD.decode_append(text, data).ok()
    }

    /// An integer that isn't negative.
    fn integer(&mut self) -> Option<i64> {
        let number = self.number()?;
        if number.is_decimal || number.has_exponent {
            return None;
        }
        str::from_utf8(number.text).ok()?.parse().ok()
    }

    /// Seconds since the epoch, in milliseconds as the SDK rounds them.
    fn instant(&mut self) -> Option<i64> {
        let number = self.number()?;
        let instant = match number.is_decimal || number.has_exponent {
            true => DateTime::from_secs_f64(number.value()?),
            false => DateTime::from_secs(str::from_utf8(number.text).ok()?.parse().ok()?),
        };
        instant.to_millis().ok()
    }

    /// A JSON number that isn't negative (RFC 8259, section 6).
    fn number(&mut self) -> Option<Number<'a>> {
        let (all, mut digits) = (self.rest, 0);
        let whole = self.digits(0, &mut digits)?;
        if whole > 1 && all[0] == b'0' {
            return None;
        }
        let mut decimals = None;
        if let Some(rest) = self.rest.strip_prefix(b".") {
            self.rest = rest;
            decimals = Some(self.digits(whole, &mut digits)?);
        }
        let mut exponent = None;
        if let [b'e' | b'E', rest @ ..] = self.rest {
            self.rest = rest;
            let is_negative = matches!(self.rest, [b'-', ..]);
            if let [b'-' | b'+', rest @ ..] = self.rest {
                self.rest = rest;
            }
            let mut power = 0;
            self.digits(0, &mut power)?;
            let power = i64::try_from(power).ok()?;
            exponent = Some(if is_negative { -power } else { power });
        }
        Some(Number {
            text: &all[..all.len() - self.rest.len()],
            digits,
            is_decimal: decimals.is_some(),
            has_exponent: exponent.is_some(),
            power: exponent
                .unwrap_or(0)
                .saturating_sub(i64::try_from(decimals.unwrap_or(0)).ok()?),
        })
    }

    /// Takes at least one digit, and adds them to those before, of which there are `before`.
    fn digits(&mut self, before: usize, digits: &mut u64) -> Option<usize> {
        let mut count = 0;
        for byte in self.rest {
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
        self.rest = &self.rest[count..];
        (count > 0).then_some(count)
    }
}

struct Number<'a> {
    text: &'a [u8],
    /// Without the point; `u64::MAX` when there are too many.
    digits: u64,
    is_decimal: bool,
    has_exponent: bool,
    /// Of ten, by which the digits are scaled.
    power: i64,
}

impl Number<'_> {
    /// The double that is nearest.
    fn value(&self) -> Option<f64> {
        let power = usize::try_from(self.power.unsigned_abs()).ok();
        match power.and_then(|power| POWERS.get(power)) {
            Some(scale) if self.digits <= EXACT => {
                #[allow(clippy::cast_precision_loss, reason = "at most 2^53")]
                let digits = self.digits as f64;
                Some(match self.power < 0 {
                    true => digits / scale,
                    false => digits * scale,
                })
            }
            _ => str::from_utf8(self.text).ok()?.parse().ok(),
        }
    }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
