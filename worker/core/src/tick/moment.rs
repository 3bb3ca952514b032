//! An event time of a usual form, at the same place of every record of a template.
//!
//! Owns reading its seconds, and the memory of the last minute there: most ticks share it with the one before. Must never
//! give another instant than [`Micros::parse`].

use super::digits::eight;
use crate::time::Micros;

/// `YYYY-MM-DDTHH:MM:SS`
const SECONDS: usize = 19;

/// `YYYY-MM-DDTHH:MM`, which two words hold.
const MINUTE: usize = 16;

const MICROS_PER_MINUTE: u64 = 60_000_000;

/// `YYYY-MM-DDTHH:MM:SS`, nothing or three or six digits of a second, and nothing, `Z` or `+00:00`. That all but the digits of
/// date and time is the same in each record is for the template to see.
#[derive(Clone, Debug)]
pub(super) struct Moment {
    start: usize,
    length: usize,
    /// Digits of a second.
    decimals: Decimals,
    /// The minute that was named last.
    minute: [u8; MINUTE],
    /// Its begin; `None` before the first.
    begin: Option<Micros>,
}

#[derive(Clone, Copy, Debug)]
enum Decimals {
    None,
    Three,
    Six,
}

impl Moment {
    /// The form of the text that begins at `start` of its record; `None` when it is no usual one.
    pub(super) fn of(text: &[u8], start: usize) -> Option<Self> {
        let (head, tail) = text.split_at_checked(SECONDS)?;
        let is_digit = |count: usize| {
            move |tail: &[u8]| {
                let digits = tail.get(1..=count);
                tail.first() == Some(&b'.')
                    && digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_digit))
            }
        };
        let (decimals, length) = match tail {
            tail if is_digit(6)(tail) => (Decimals::Six, 7),
            tail if is_digit(3)(tail) => (Decimals::Three, 4),
            _ => (Decimals::None, 0),
        };
        if !matches!(tail.get(length..)?, b"" | b"Z" | b"+00:00") {
            return None;
        }
        let separators = [head[4], head[7], head[13], head[16]] == *b"--::";
        if !separators || Micros::parse(std::str::from_utf8(text).ok()?).is_none() {
            return None;
        }
        Some(Moment {
            start,
            length: text.len(),
            decimals,
            minute: [0; MINUTE],
            begin: None,
        })
    }

    /// True where the text has a digit of the date or the time, or a letter between them.
    pub(super) fn varies_at(&self, place: usize) -> bool {
        place
            < match self.decimals {
                Decimals::None => SECONDS,
                Decimals::Three => SECONDS + 4,
                Decimals::Six => SECONDS + 7,
            }
    }

    /// The instant in a record of the template; `None` when it is none.
    #[inline]
    pub(super) fn read(&mut self, record: &[u8]) -> Option<Micros> {
        let text = record.get(self.start..)?;
        let (minute, digits) = match self.decimals {
            Decimals::None => {
                let text = text.first_chunk::<19>()?;
                let [a, b] = [text[17], text[18]];
                (
                    text.first_chunk()?,
                    [a, b, b'0', b'0', b'0', b'0', b'0', b'0'],
                )
            }
            Decimals::Three => {
                let text = text.first_chunk::<23>()?;
                let [a, b, _, c, d, e] = *text.last_chunk()?;
                (text.first_chunk()?, [a, b, c, d, e, b'0', b'0', b'0'])
            }
            Decimals::Six => {
                let text = text.first_chunk::<26>()?;
                // The last of the seconds and the point give way to both.
                let mut digits: [u8; 8] = *text.last_chunk()?;
                [digits[0], digits[1]] = [text[17], text[18]];
                (text.first_chunk()?, digits)
            }
        };
        let micros = eight(digits).filter(|micros| *micros < MICROS_PER_MINUTE)?;
        let micros = micros.cast_signed();
        match self.begin {
            Some(begin) if *minute == self.minute => Some(begin.plus(micros)),
            _ => {
                let minute = *minute;
                self.learn(text.get(..self.length)?, minute, micros)
            }
        }
    }

    #[cold]
    fn learn(&mut self, text: &[u8], minute: [u8; MINUTE], micros: i64) -> Option<Micros> {
        let instant = Micros::parse(std::str::from_utf8(text).ok()?)?;
        self.minute = minute;
        self.begin = Some(instant.minus(micros));
        Some(instant)
    }
}
