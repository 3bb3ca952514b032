//! Event time: instants in microseconds and calendar dates, and their ISO-8601 forms.
//!
//! Owns parsing and printing. Must never read a clock: every "now" comes in as an argument.

use std::fmt;

use jiff::civil;
use serde::{Deserialize, Serialize};

/// Microseconds in a day.
pub const MICROS_PER_DAY: i64 = 86_400_000_000;

/// Years that a tick's event time and trade date may lie in. Outside, a timestamp is a unit mistake, not a tick.
pub const YEARS: std::ops::RangeInclusive<i16> = 1900..=2999;

/// An instant: microseconds since 1970-01-01T00:00:00Z, negative before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Micros(pub i64);

impl Micros {
    /// From milliseconds since the epoch; saturates at the ends of the range.
    pub fn from_millis(millis: i64) -> Self {
        Micros(millis.saturating_mul(1_000))
    }

    /// Whole milliseconds since the epoch, rounded down.
    pub fn millis(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// This instant plus `micros`; saturates.
    #[must_use]
    pub fn plus(self, micros: i64) -> Self {
        Micros(self.0.saturating_add(micros))
    }

    /// This instant minus `micros`; saturates.
    #[must_use]
    pub fn minus(self, micros: i64) -> Self {
        Micros(self.0.saturating_sub(micros))
    }

    /// The UTC date.
    pub fn date(self) -> Date {
        // Fits: i64::MAX / MICROS_PER_DAY is about 1.07e8.
        Date(i32::try_from(self.0.div_euclid(MICROS_PER_DAY)).unwrap_or(i32::MAX))
    }

    /// The start of the tumbling window of `size` microseconds (> 0) that holds this instant. Windows are aligned to the epoch.
    #[must_use]
    pub fn window_start(self, size: i64) -> Self {
        Micros(self.0.saturating_sub(self.0.rem_euclid(size)))
    }

    /// Reads an ISO-8601 instant: `T` or a space between date and time, seconds with up to 9 digits (cut to
    /// microseconds), an offset or `Z`; UTC when there is none.
    ///
    /// `None` when the text has another form or lies outside [`YEARS`].
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(instant) = parse_usual(text.as_bytes()) {
            return Some(instant);
        }
        // Everything else is left to jiff, but for forms that aren't ISO-8601 (a bracketed zone name).
        if text.len() > 40 || text.contains('[') {
            return None;
        }
        let instant = match text.parse::<jiff::Timestamp>() {
            Ok(instant) => instant,
            Err(_) => {
                // Without an offset: a civil time, taken as UTC. A date alone is no event time.
                if !text.contains(':') {
                    return None;
                }
                let civil: civil::DateTime = text.parse().ok()?;
                civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp()
            }
        };
        let micros = Micros(instant.as_nanosecond().div_euclid(1_000).try_into().ok()?);
        let year = jiff::tz::Offset::UTC.to_datetime(instant).year();
        YEARS.contains(&year).then_some(micros)
    }
}

impl fmt::Display for Micros {
    /// ISO-8601 in UTC, with as many digits as needed.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(instant) => write!(formatter, "{instant}"),
            Err(_) => write!(formatter, "{} µs since 1970", self.0),
        }
    }
}

/// A reading of the process's monotonic clock: microseconds since an origin that never changes while the process lives.
/// Comparable only within one process; never stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Monotonic(pub i64);

impl Monotonic {
    /// Microseconds from `earlier` to this reading; 0 when that is later.
    pub fn since(self, earlier: Monotonic) -> i64 {
        self.0.saturating_sub(earlier.0).max(0)
    }

    /// This reading plus `micros`; saturates.
    #[must_use]
    pub fn plus(self, micros: i64) -> Self {
        Monotonic(self.0.saturating_add(micros))
    }
}

/// A calendar date: days since 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Date(i32);

impl Date {
    /// The instant on this day, when the text from the `T` on has the usual form: see [`Micros::parse`].
    pub(crate) fn at(self, time: &[u8]) -> Option<Micros> {
        time_on(self, time)
    }

    /// From days since 1970-01-01.
    pub fn from_days(days: i32) -> Self {
        Date(days)
    }

    /// Days since 1970-01-01.
    pub fn days(self) -> i32 {
        self.0
    }

    /// Reads exactly `YYYY-MM-DD`, a real date within [`YEARS`].
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: &[u8; 10] = text.as_bytes().try_into().ok()?;
        parse_date(bytes)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(i64::from(self.0));
        write!(formatter, "{year:04}-{month:02}-{day:02}")
    }
}

/// `YYYY-MM-DDTHH:MM:SS`, nothing or 1 to 9 digits of a second, and nothing, `Z` or `+00:00`: nearly every feed.
fn parse_usual(bytes: &[u8]) -> Option<Micros> {
    let (date, time) = bytes.split_first_chunk::<10>()?;
    parse_date(date)?.at(time)
}

/// The rest of [`parse_usual`], from the `T` on.
fn time_on(date: Date, time: &[u8]) -> Option<Micros> {
    let (head, tail) = time.split_first_chunk::<9>()?;
    if head[0] != b'T' && head[0] != b' ' || head[3] != b':' || head[6] != b':' {
        return None;
    }
    let (hour, minute, second) = (
        two(head[1], head[2])?,
        two(head[4], head[5])?,
        two(head[7], head[8])?,
    );
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (fraction, zone) = fraction(tail)?;
    if !matches!(zone, b"" | b"Z" | b"+00:00") {
        return None;
    }
    let seconds = (i64::from(hour) * 60 + i64::from(minute)) * 60 + i64::from(second);
    Some(Micros(
        i64::from(date.0) * MICROS_PER_DAY + seconds * 1_000_000 + fraction,
    ))
}

/// Microseconds of a `.123456789` (digits after the sixth are cut), and what follows it.
fn fraction(tail: &[u8]) -> Option<(i64, &[u8])> {
    let Some((b'.', digits)) = tail.split_first() else {
        return Some((0, tail));
    };
    if let Some((micros, zone @ (b"" | [b'Z' | b'+', ..]))) = digits.split_first_chunk::<6>()
        && micros.iter().all(u8::is_ascii_digit)
    {
        let digits = micros.iter().map(|digit| i64::from(digit - b'0'));
        return Some((digits.fold(0, |sum, digit| sum * 10 + digit), zone));
    }
    let count = digits
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    if count == 0 || count > 9 {
        return None;
    }
    let micros = (0..6).fold(0i64, |sum, index| {
        let digit = if index < count {
            i64::from(digits[index] - b'0')
        } else {
            0
        };
        sum * 10 + digit
    });
    Some((micros, &digits[count..]))
}

fn parse_date(bytes: &[u8; 10]) -> Option<Date> {
    if bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let year = i16::from(two(bytes[0], bytes[1])?) * 100 + i16::from(two(bytes[2], bytes[3])?);
    let (month, day) = (two(bytes[5], bytes[6])?, two(bytes[8], bytes[9])?);
    if !YEARS.contains(&year) || !(1..=12).contains(&month) {
        return None;
    }
    if day < 1 || day > days_in_month(year, month) {
        return None;
    }
    let days = days_from_civil(i64::from(year), i64::from(month), i64::from(day));
    i32::try_from(days).ok().map(Date)
}

fn two(tens: u8, ones: u8) -> Option<u8> {
    (tens.is_ascii_digit() && ones.is_ascii_digit()).then(|| (tens - b'0') * 10 + (ones - b'0'))
}

fn days_in_month(year: i16, month: u8) -> u8 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a proleptic Gregorian date (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The inverse of [`days_from_civil`], from the same source.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> i64 {
        Micros::parse(text).unwrap().0
    }

    #[test]
    fn the_forms_that_feeds_use_name_the_same_instant() {
        let expected = 1_704_207_600_123_456;
        for text in [
            "2024-01-02T15:00:00.123456Z",
            "2024-01-02T15:00:00.123456",
            "2024-01-02 15:00:00.123456",
            "2024-01-02T15:00:00.123456789Z",
            "2024-01-02T15:00:00.123456+00:00",
            "2024-01-02T10:00:00.123456-05:00",
            "2024-01-02T20:30:00.123456+0530",
            "2024-01-02t15:00:00.123456z",
        ] {
            assert_eq!(at(text), expected, "{text}");
        }
        assert_eq!(at("2024-01-02T15:00:00"), 1_704_207_600_000_000);
        assert_eq!(at("2024-01-02T15:00:00.5Z"), 1_704_207_600_500_000);
    }

    #[test]
    fn what_is_no_instant_is_refused() {
        for text in [
            "",
            "2024-01-02",
            "15:00:00",
            "2024-02-30T00:00:00Z",
            "2024-01-02T24:00:00Z",
            "2024-01-02T15:60:00Z",
            "2024-01-02T15:00:00.Z",
            "1704207600",
            "0001-01-01T00:00:00Z",
            "9999-01-01T00:00:00Z",
            "2024-01-02T15:00:00[America/New_York]",
            "yesterday",
            "2024-01-02T15:00:00Zjunk",
        ] {
            assert_eq!(Micros::parse(text), None, "{text}");
        }
    }

    #[test]
    fn dates_are_strict() {
        assert_eq!(Date::parse("1970-01-02"), Some(Date(1)));
        assert_eq!(Date::parse("2024-02-29").unwrap().to_string(), "2024-02-29");
        for text in [
            "2023-02-29",
            "2024-1-2",
            "20240102",
            "2024-13-01",
            "1899-01-01",
            "2024-00-10",
        ] {
            assert_eq!(Date::parse(text), None, "{text}");
        }
    }

    #[test]
    fn windows_before_the_epoch_are_aligned_too() {
        assert_eq!(Micros(-1).window_start(60), Micros(-60));
        assert_eq!(Micros(59).window_start(60), Micros(0));
        assert_eq!(Micros(60).window_start(60), Micros(60));
    }

    proptest! {
        #[test]
        fn every_date_prints_and_reads_back(days in -25_000i32..370_000) {
            let date = Date::from_days(days);
            prop_assert_eq!(Date::parse(&date.to_string()), Some(date));
            let civil = civil::date(1970, 1, 1).saturating_add(jiff::ToSpan::days(i64::from(days)));
            prop_assert_eq!(date.to_string(), civil.to_string());
        }

        #[test]
        fn the_fast_path_agrees_with_jiff(micros in -2_000_000_000_000_000i64..32_000_000_000_000_000) {
            let printed = Micros(micros).to_string();
            prop_assert_eq!(Micros::parse(&printed), Some(Micros(micros)));
            let parsed: jiff::Timestamp = printed.parse().unwrap();
            prop_assert_eq!(parsed.as_microsecond(), micros);
        }

        #[test]
        fn any_text_is_answered(text in "\\PC{0,40}") {
            let _ = Micros::parse(&text);
            let _ = Date::parse(&text);
        }
    }
}
