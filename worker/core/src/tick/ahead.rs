//! What a record gives without being looked at closely: slices of it, and the moments it names.
//!
//! Owns the memory of the last minute and day, which most ticks share with the one before. Must never give another instant
//! than [`Micros::parse`], or another date than [`Date::parse`].

use super::digits::{eight, is_plain};
use crate::time::{Date, Micros};

/// A tick whose texts are plain: printable ASCII without escapes, of an allowed length.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ahead<'a> {
    pub(crate) ticker: &'a [u8],
    pub(crate) event_time: Micros,
    pub(crate) trade_date: Option<Date>,
    pub(crate) id: Option<&'a [u8]>,
}

/// `YYYY-MM-DDTHH:MM:`
const MINUTE: usize = 17;
const MICROS_PER_MINUTE: u64 = 60_000_000;

/// The minute and the day that were named last.
#[derive(Debug, Default)]
pub(super) struct Moments {
    minute: [u8; MINUTE],
    /// The begin of that minute; `None` before the first.
    begin: Option<Micros>,
    day: [u8; 10],
    date: Option<Date>,
}

impl Moments {
    /// The date; `None` when the text is none.
    pub(super) fn date(&mut self, text: &[u8]) -> Option<Date> {
        let text: &[u8; 10] = text.try_into().ok()?;
        if self.day != *text || self.date.is_none() {
            self.date = Some(Date::parse(std::str::from_utf8(text).ok()?)?);
            self.day = *text;
        }
        self.date
    }

    /// The instant; `None` when the text is none, or has an escape.
    pub(super) fn instant(&mut self, text: &[u8]) -> Option<Micros> {
        if let (Some(begin), Some((minute, rest))) =
            (self.begin, text.split_first_chunk::<MINUTE>())
            && *minute == self.minute
            && let Some(micros) = seconds(rest)
        {
            return Some(begin.plus(micros));
        }
        if !is_plain(text) {
            return None;
        }
        let instant = Micros::parse(std::str::from_utf8(text).ok()?)?;
        if let Some((minute, rest)) = text.split_first_chunk::<MINUTE>()
            && [minute[4], minute[7], minute[13], minute[16]] == *b"--::"
            && let Some(micros) = seconds(rest)
        {
            self.minute = *minute;
            self.begin = Some(instant.minus(micros));
        }
        Some(instant)
    }
}

/// The microseconds of `SSZ`, `SS.fffZ` or `SS.ffffffZ`; `None` for any other text.
fn seconds(text: &[u8]) -> Option<i64> {
    let digits = match *text {
        [a, b, b'.', c, d, e, f, g, h, b'Z'] => [a, b, c, d, e, f, g, h],
        [a, b, b'.', c, d, e, b'Z'] => [a, b, c, d, e, b'0', b'0', b'0'],
        [a, b, b'Z'] => [a, b, b'0', b'0', b'0', b'0', b'0', b'0'],
        _ => return None,
    };
    let micros = eight(digits).filter(|micros| *micros < MICROS_PER_MINUTE)?;
    i64::try_from(micros).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn time() -> impl Strategy<Value = String> {
        // Few minutes, so that they repeat; odd ones among them.
        let minutes = prop::sample::select(vec![
            "2024-01-02T09:30:",
            "2024-01-02T09:31:",
            "2024-01-03 09:30:",
            "2024-01-03t09:30:",
            "2024-01-02T24:00:",
            "2024-02-30T09:30:",
            "1899-12-31T09:30:",
            "20240102T093000.0",
            "20240102T0930:000",
            "2024-01-02T09:30-",
            "2024-01-02T0930:0",
        ]);
        let seconds = "([0-6][0-9]|[0-9])([.,][0-9]{0,9})?(Z|z|\\+00:00|-05:00|\\[UTC\\]|)";
        (minutes, seconds).prop_map(|(minute, seconds)| format!("{minute}{seconds}"))
    }

    proptest! {
        #[test]
        fn what_was_named_before_changes_no_instant_and_no_date(texts in prop::collection::vec(time(), 1..20)) {
            let mut moments = Moments::default();
            for text in &texts {
                prop_assert_eq!(moments.instant(text.as_bytes()), Micros::parse(text), "{}", text);
                prop_assert_eq!(moments.date(text.as_bytes()), Date::parse(text));
                prop_assert_eq!(moments.date(&text.as_bytes()[..10]), Date::parse(&text[..10]));
            }
        }
    }
}
