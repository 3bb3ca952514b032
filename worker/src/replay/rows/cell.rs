//! The values of single cells. Every function says what it found and what is allowed.

use jiff::civil::{Date, DateTime, Time};
use jiff::fmt::temporal::Pieces;
use jiff::tz::TimeZone;

/// A row's date, and where it stands in the order of rows (microseconds since 1970 UTC).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Moment {
    pub at: i64,
    pub date: Date,
}

impl Moment {
    /// A time of day without zone counts as UTC for the order; the date stays as it is written.
    pub(super) fn of(date: Date, time: Time) -> Option<Self> {
        let at = DateTime::from_parts(date, time)
            .to_zoned(TimeZone::UTC)
            .ok()?
            .timestamp();
        Some(Self {
            at: at.as_microsecond(),
            date,
        })
    }

    /// An instant; its date is the one in UTC.
    pub(super) fn of_microsecond(at: i64) -> Option<Self> {
        let date = jiff::Timestamp::from_microsecond(at)
            .ok()?
            .to_zoned(TimeZone::UTC)
            .date();
        Some(Self { at, date })
    }
}

/// Spreadsheets, pandas and market-data feeds each have their own word for a missing value.
pub(super) fn is_absent(text: &str) -> bool {
    text.is_empty()
        || ["null", "nan", "na", "n/a", "none"]
            .iter()
            .any(|word| text.eq_ignore_ascii_case(word))
}

/// A date with or without a time of day, or the American M/D/YYYY.
pub(super) fn date(text: &str) -> Result<Moment, String> {
    let text = text.trim();
    moment(text).or_else(|| american(text)).ok_or_else(|| {
        format!(
            "date is `{}`; allowed are YYYY-MM-DD, YYYYMMDD, M/D/YYYY, or an ISO-8601 date and time",
            shown(text)
        )
    })
}

fn moment(text: &str) -> Option<Moment> {
    let pieces = Pieces::parse(text).ok()?;
    let (date, time) = (pieces.date(), pieces.time().unwrap_or(Time::midnight()));
    match pieces.to_numeric_offset() {
        None => Moment::of(date, time),
        Some(offset) => {
            let at = offset.to_timestamp(DateTime::from_parts(date, time)).ok()?;
            Some(Moment {
                at: at.as_microsecond(),
                date,
            })
        }
    }
}

fn american(text: &str) -> Option<Moment> {
    let mut parts = text.split('/');
    let (month, day, year) = (
        parts.next()?.parse().ok()?,
        parts.next()?.parse().ok()?,
        parts.next()?,
    );
    if parts.next().is_some() || year.len() != 4 {
        return None;
    }
    Moment::of(
        Date::new(year.parse().ok()?, month, day).ok()?,
        Time::midnight(),
    )
}

/// A finite number, or nothing.
pub(super) fn number(field: &str, text: &str) -> Result<Option<f64>, String> {
    let text = text.trim();
    if is_absent(text) {
        return Ok(None);
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(Some(number)),
        _ => Err(format!(
            "{field} is `{}`; allowed are finite numbers, or nothing",
            shown(text)
        )),
    }
}

/// An integer, or nothing.
pub(super) fn integer(field: &str, text: &str) -> Result<Option<i64>, String> {
    let text = text.trim();
    match text.parse() {
        Ok(integer) => Ok(Some(integer)),
        Err(_) => number(field, text)?
            .map(|number| whole(field, number))
            .transpose(),
    }
}

/// A double that holds an integer exactly, as spreadsheets and pandas write volumes (123.0).
pub(super) fn whole(field: &str, number: f64) -> Result<i64, String> {
    const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53: above it doubles skip integers
    if number.fract() == 0.0 && number.abs() <= EXACT {
        Ok(number as i64)
    } else {
        Err(format!(
            "{field} is `{number}`; allowed are whole numbers, or nothing"
        ))
    }
}

/// A ticker Kinesis takes as partition key: 1 to 256 characters.
pub(super) fn ticker(text: &str) -> Result<&str, String> {
    let text = text.trim();
    match text.chars().take(257).count() {
        0 => Err("ticker is empty; every row needs one".to_owned()),
        1..=256 => Ok(text),
        _ => Err(format!(
            "ticker is `{}`; a partition key has at most 256 characters",
            shown(text)
        )),
    }
}

/// Text for a message: its beginning, without control characters.
pub(super) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(60).flat_map(char::escape_debug).collect();
    if text.chars().nth(60).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn dates_are_read_in_the_usual_forms() {
        for text in [
            "2015-01-02",
            " 2015-01-02 ",
            "20150102",
            "1/2/2015",
            "01/02/2015",
            "2015-01-02T00:00:00",
            "2015-01-02 00:00:00",
            "2015-01-02T00:00:00Z",
        ] {
            let moment = date(text).unwrap();
            assert_eq!(
                (moment.date.to_string().as_str(), moment.at),
                ("2015-01-02", 1_420_156_800_000_000),
                "{text}"
            );
        }
    }

    #[test]
    fn a_time_of_day_orders_rows_and_an_offset_counts() {
        let early = date("2015-01-02T09:30:00-05:00").unwrap();
        let late = date("2015-01-02T14:30:01Z").unwrap();
        assert_eq!(late.at - early.at, 1_000_000);
        assert_eq!(
            date("2015-01-02T23:00:00-05:00").unwrap().date.to_string(),
            "2015-01-02",
            "as it is written"
        );
    }

    #[test]
    fn bad_dates_are_refused_with_what_is_allowed() {
        for text in [
            "",
            "2015-13-01",
            "2015-02-30",
            "13/1/2015",
            "1/2/15",
            "1/2/2015/3",
            "yesterday",
            "09:30",
        ] {
            assert!(date(text).unwrap_err().contains("YYYY-MM-DD"), "{text}");
        }
    }

    #[test]
    fn numbers_are_finite_or_absent() {
        assert_eq!(
            number("close", " 43.461999999999996 "),
            Ok(Some(43.461999999999996))
        );
        for text in ["", "null", "NaN", "N/A", "none", "NA"] {
            assert_eq!(number("close", text), Ok(None), "{text}");
        }
        for text in ["inf", "-Infinity", "1e999", "1,5", "abc"] {
            assert!(
                number("close", text).unwrap_err().starts_with("close is `"),
                "{text}"
            );
        }
    }

    #[test]
    fn volumes_are_whole() {
        assert_eq!(integer("volume", "2708700000"), Ok(Some(2_708_700_000)));
        assert_eq!(integer("volume", "123.0"), Ok(Some(123)));
        assert_eq!(integer("volume", ""), Ok(None));
        for text in ["1.5", "1e300", "99999999999999999999"] {
            assert!(integer("volume", text).is_err(), "{text}");
        }
    }

    #[test]
    fn tickers_fit_a_partition_key() {
        assert_eq!(ticker(" ^GSPC "), Ok("^GSPC"));
        assert!(ticker(&"é".repeat(256)).is_ok());
        assert!(ticker(&"é".repeat(257)).is_err());
        assert!(ticker("  ").is_err());
    }
}
