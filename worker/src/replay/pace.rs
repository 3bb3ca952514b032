//! When each record of a run is due. Pure: times are durations since the run's start.

use std::str::FromStr;
use std::time::Duration;

/// The longest interval between two records that is accepted.
const LONGEST_INTERVAL: Duration = Duration::from_secs(86_400);

/// How fast records are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// One record each interval, never zero.
    Every(Interval),
    /// As fast as the stream takes them.
    Max,
}

/// Time between two records: at least a nanosecond, at most a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval(Duration);

impl Interval {
    /// The interval, if it is in range.
    pub fn new(interval: Duration) -> Option<Self> {
        (!interval.is_zero() && interval <= LONGEST_INTERVAL).then_some(Self(interval))
    }

    /// The interval as a duration.
    pub fn get(self) -> Duration {
        self.0
    }
}

impl Default for Rate {
    /// One record per 1.5 s, as the reference job's producer sends them.
    fn default() -> Self {
        Self::Every(Interval(Duration::from_millis(1500)))
    }
}

impl Rate {
    /// When record `index` is due. A run which fell behind catches up: lateness never moves the later ones.
    pub fn due(self, index: u64) -> Duration {
        match self {
            Self::Max => Duration::ZERO,
            Self::Every(interval) => {
                let nanoseconds = interval.0.as_nanos().saturating_mul(u128::from(index));
                u64::try_from(nanoseconds).map_or(Duration::MAX, Duration::from_nanos)
            }
        }
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const ALLOWED: &str = "allowed are records per second (`10`, `0.5`), an interval (`1.5s`, `500ms`, `1m30s`), or `max`";
        let text = text.trim();
        if text.eq_ignore_ascii_case("max") {
            return Ok(Self::Max);
        }
        let interval = match text.parse::<f64>() {
            Ok(per_second) if per_second > 0.0 => {
                Duration::try_from_secs_f64(per_second.recip()).ok()
            }
            Ok(_) => None,
            Err(_) => {
                let interval = text
                    .parse::<jiff::SignedDuration>()
                    .map_err(|_| format!("`{text}` is not a rate; {ALLOWED}"))?;
                Duration::try_from(interval).ok()
            }
        };
        interval
            .and_then(Interval::new)
            .map(Self::Every)
            .ok_or_else(|| {
                format!(
                    "`{text}` is out of range: a record each nanosecond to one a day; {ALLOWED}"
                )
            })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn every(milliseconds: u64) -> Rate {
        Rate::Every(Interval::new(Duration::from_millis(milliseconds)).unwrap())
    }

    #[test]
    fn rates_and_intervals_are_read() {
        for (text, rate) in [
            ("10", every(100)),
            ("0.5", every(2000)),
            ("1.5s", every(1500)),
            ("500ms", every(500)),
            ("1m30s", every(90_000)),
            (" MAX ", Rate::Max),
        ] {
            assert_eq!(text.parse::<Rate>(), Ok(rate), "{text}");
        }
        assert_eq!(Rate::default(), every(1500));
    }

    #[test]
    fn a_rate_out_of_range_is_refused_with_what_is_allowed() {
        for text in [
            "0", "-1", "0s", "-1s", "NaN", "inf", "1e30", "48h", "soon", "",
        ] {
            let error = text.parse::<Rate>().unwrap_err();
            assert!(error.contains("records per second"), "{text}: {error}");
        }
    }

    #[test]
    fn records_are_due_one_interval_apart_and_huge_indices_do_not_overflow() {
        assert_eq!(every(1500).due(0), Duration::ZERO);
        assert_eq!(every(1500).due(4), Duration::from_secs(6));
        assert_eq!(Rate::Max.due(7), Duration::ZERO);
        assert_eq!(every(1500).due(u64::MAX), Duration::MAX);
    }
}
