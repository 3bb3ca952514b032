//! The event time of each record: a pure function of the run's plan, the time since its start and the clock.
//!
//! Event time runs `speed` times faster than the clock, yet never ahead of it: a tick stamped
//! later than its arrival is ahead of time and may become a dead letter. So a run that should take
//! `D` starts `(speed − 1) · D` in the past and meets the clock at its end. A run that takes longer
//! goes on with the clock, at speed 1, from the moment it caught up.

use std::str::FromStr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::ReplayError;
use super::pace::Rate;

/// How far in the past a run without an end (`--loop`) begins: it runs fast until it has caught up with the
/// clock, `24 h / (speed − 1)` later, and in real time after that.
pub const LOOP_HORIZON: Duration = Duration::from_secs(24 * 3600);

/// No run begins further in the past than this, ten years.
pub const LONGEST_LOOK_BACK: Duration = Duration::from_secs(3650 * 24 * 3600);

/// Records per second assumed of `--rate max` to plan its start: a slow guess (a few tickers over a round trip of some
/// milliseconds), because starting too far back does no harm and starting too late ends the speed-up early.
pub const ASSUMED_MAX_RATE: u64 = 500;

/// How much faster than the clock event time runs: 1 to 86,400 (a day a second).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speed(f64);

impl Speed {
    /// The speed, if it is in range.
    pub fn new(speed: f64) -> Option<Self> {
        (1.0..=86_400.0).contains(&speed).then_some(Self(speed))
    }

    /// The factor.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl Default for Speed {
    fn default() -> Self {
        Self(1.0)
    }
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.trim()
            .parse()
            .ok()
            .and_then(Self::new)
            .ok_or_else(|| format!("`{text}` is not a speed; allowed are numbers from 1 to 86400"))
    }
}

/// How long a run of `records` (`None`: no end) takes when nothing holds it up; `None` when it has no end.
pub fn expected_duration(records: Option<u64>, rate: Rate) -> Option<Duration> {
    let records = records?;
    Some(match rate {
        Rate::Every(_) => rate.due(records.saturating_sub(1)),
        Rate::Max => Duration::from_secs(records.div_ceil(ASSUMED_MAX_RATE)),
    })
}

/// The event times of one run. They never decrease, and never pass the clock unless the clock steps back.
#[derive(Debug)]
pub struct EventTimes {
    start: Timestamp,
    /// `None`: event time is the clock.
    speed: Option<Speed>,
    newest: Timestamp,
}

impl EventTimes {
    /// Plans a run that starts at `now` and should take `expected` (`None`: without end).
    ///
    /// # Errors
    /// [`ReplayError::StartAhead`] when `start_time` lies after `now`.
    pub fn plan(
        now: Timestamp,
        speed: Speed,
        start_time: Option<Timestamp>,
        expected: Option<Duration>,
    ) -> Result<Self, ReplayError> {
        if let Some(start) = start_time.filter(|start| *start > now) {
            return Err(ReplayError::StartAhead { start, now });
        }
        let follows_clock = start_time.is_none() && speed.get() == 1.0;
        let start = start_time.unwrap_or_else(|| earlier(now, look_back(speed, expected)));
        Ok(Self {
            start,
            speed: (!follows_clock).then_some(speed),
            newest: start,
        })
    }

    /// The first event time.
    pub fn start(&self) -> Timestamp {
        self.start
    }

    /// The event time of a record sent `elapsed` after the run's start, when the clock says `now`; whole microseconds.
    pub fn at(&mut self, elapsed: Duration, now: Timestamp) -> Timestamp {
        let planned = match self.speed {
            None => now,
            Some(speed) => later(self.start, elapsed, speed).min(now),
        };
        let whole = Timestamp::from_microsecond(planned.as_microsecond()).unwrap_or(planned);
        self.newest = self.newest.max(whole);
        self.newest
    }
}

fn look_back(speed: Speed, expected: Option<Duration>) -> Duration {
    match expected {
        _ if speed.get() == 1.0 => Duration::ZERO,
        None => LOOP_HORIZON,
        Some(expected) => Duration::try_from_secs_f64(expected.as_secs_f64() * (speed.get() - 1.0))
            .map_or(LONGEST_LOOK_BACK, |look_back| {
                look_back.min(LONGEST_LOOK_BACK)
            }),
    }
}

fn earlier(now: Timestamp, by: Duration) -> Timestamp {
    let start = SignedDuration::try_from(by)
        .ok()
        .and_then(|by| now.checked_sub(by).ok())
        .unwrap_or(Timestamp::MIN);
    Timestamp::from_microsecond(start.as_microsecond()).unwrap_or(start)
}

fn later(start: Timestamp, elapsed: Duration, speed: Speed) -> Timestamp {
    Duration::try_from_secs_f64(elapsed.as_secs_f64() * speed.get())
        .ok()
        .and_then(|by| SignedDuration::try_from(by).ok())
        .and_then(|by| start.checked_add(by).ok())
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn now() -> Timestamp {
        "2026-01-02T03:04:05.678901Z".parse().unwrap()
    }

    fn after(seconds: f64) -> Timestamp {
        now()
            .checked_add(SignedDuration::from_secs_f64(seconds))
            .unwrap()
    }

    fn speed(factor: f64) -> Speed {
        Speed::new(factor).unwrap()
    }

    #[test]
    fn at_speed_one_event_time_is_the_clock() {
        let mut times = EventTimes::plan(now(), speed(1.0), None, Some(SECOND)).unwrap();
        assert_eq!(times.start(), now());
        assert_eq!(times.at(SECOND, after(1.25)), after(1.25));
    }

    #[test]
    fn a_fast_run_starts_in_the_past_and_meets_the_clock_at_its_end() {
        let expected = Duration::from_secs(36);
        let mut times = EventTimes::plan(now(), speed(60.0), None, Some(expected)).unwrap();
        assert_eq!(times.start(), after(-36.0 * 59.0));
        assert_eq!(times.at(SECOND, after(1.0)), after(-36.0 * 59.0 + 60.0));
        assert_eq!(times.at(expected, after(36.0)), after(36.0));
        assert_eq!(
            times.at(expected * 2, after(72.0)),
            after(72.0),
            "then it goes on with the clock"
        );
    }

    #[test]
    fn an_endless_run_starts_at_the_horizon_and_catches_up() {
        let mut times = EventTimes::plan(now(), speed(25.0), None, None).unwrap();
        assert_eq!(times.start(), after(-86_400.0));
        assert_eq!(
            times.at(Duration::from_secs(3600), after(3600.0)),
            after(3600.0)
        );
        assert_eq!(
            times.at(Duration::from_secs(4000), after(4000.0)),
            after(4000.0)
        );
    }

    #[test]
    fn a_given_start_time_is_kept_and_one_ahead_of_the_clock_is_refused() {
        let mut times =
            EventTimes::plan(now(), speed(2.0), Some(after(-100.0)), Some(SECOND)).unwrap();
        assert_eq!(times.at(SECOND, after(1.0)), after(-98.0));
        let error =
            EventTimes::plan(now(), speed(2.0), Some(after(1.0)), Some(SECOND)).unwrap_err();
        assert!(matches!(error, ReplayError::StartAhead { .. }));
    }

    #[test]
    fn the_look_back_is_bounded() {
        let times = EventTimes::plan(now(), speed(86_400.0), None, Some(Duration::MAX)).unwrap();
        assert_eq!(
            times.start(),
            now()
                .checked_sub(SignedDuration::try_from(LONGEST_LOOK_BACK).unwrap())
                .unwrap()
        );
    }

    #[test]
    fn expected_durations_follow_the_rate() {
        let tenth = "10".parse().unwrap();
        assert_eq!(expected_duration(Some(11), tenth), Some(SECOND));
        assert_eq!(expected_duration(Some(0), tenth), Some(Duration::ZERO));
        assert_eq!(expected_duration(Some(501), Rate::Max), Some(SECOND * 2));
        assert_eq!(expected_duration(None, tenth), None);
    }

    #[test]
    fn speeds_out_of_range_are_refused() {
        for text in ["0", "0.5", "-2", "NaN", "inf", "86401", "fast"] {
            assert!(text.parse::<Speed>().is_err(), "{text}");
        }
        assert_eq!("60".parse::<Speed>(), Ok(speed(60.0)));
    }

    proptest! {
        #[test]
        fn event_times_never_decrease_nor_pass_a_clock_that_only_advances(
            factor in 1.0f64..1000.0,
            expected in prop::option::of(0u64..100_000),
            // Milliseconds of the monotonic clock and of the wall clock between records.
            steps in prop::collection::vec((0u64..5000, 0i64..5000), 1..100),
        ) {
            let expected = expected.map(Duration::from_secs);
            let mut times = EventTimes::plan(now(), speed(factor), None, expected).unwrap();
            let (mut elapsed, mut clock, mut newest) = (Duration::ZERO, now(), times.start());
            for (monotonic, wall) in steps {
                elapsed += Duration::from_millis(monotonic);
                clock = clock.checked_add(SignedDuration::from_millis(wall)).unwrap();
                let event = times.at(elapsed, clock);
                prop_assert!(event >= newest && event <= clock);
                newest = event;
            }
        }

        #[test]
        fn a_clock_that_steps_back_never_makes_event_time_decrease(
            factor in 1.0f64..1000.0,
            steps in prop::collection::vec((0u64..5000, -5000i64..5000), 1..100),
        ) {
            let mut times = EventTimes::plan(now(), speed(factor), None, Some(SECOND)).unwrap();
            let (mut elapsed, mut clock, mut newest) = (Duration::ZERO, now(), times.start());
            for (monotonic, wall) in steps {
                elapsed += Duration::from_millis(monotonic);
                clock = clock.checked_add(SignedDuration::from_millis(wall)).unwrap();
                let event = times.at(elapsed, clock);
                prop_assert!(event >= newest);
                newest = event;
            }
        }
    }
}
