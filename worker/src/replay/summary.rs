//! What a replay did, for people and as JSON.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

/// Tickers listed one by one for people; JSON has them all.
const TICKERS_SHOWN: usize = 20;

/// The outcome of a replay that was not ended by an error.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReplaySummary {
    /// The stream.
    pub stream: String,
    /// Records in the stream.
    pub records: u64,
    /// Their data in bytes, without partition keys.
    pub bytes: u64,
    /// From the first record's due time to the last answer.
    pub seconds: f64,
    /// Attempts beyond each record's first.
    pub retried: u64,
    /// Attempts that failed for want of throughput.
    pub throttled: u64,
    /// Attempts without an answer; such a record was sent again with the same bytes and may be in the stream twice.
    pub unanswered: u64,
    /// The earliest event time delivered.
    pub first_event_time: Option<Timestamp>,
    /// The latest event time delivered.
    pub last_event_time: Option<Timestamp>,
    /// The run was stopped before all records were delivered.
    pub stopped: bool,
    /// Records per ticker.
    pub per_ticker: BTreeMap<String, u64>,
}

impl ReplaySummary {
    /// Records per second over the whole run.
    pub fn rate(&self) -> f64 {
        if self.seconds > 0.0 {
            self.records as f64 / self.seconds
        } else {
            self.records as f64
        }
    }
}

impl fmt::Display for ReplaySummary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.stopped {
            "Stopped after"
        } else {
            "Sent"
        };
        writeln!(
            out,
            "{how} {} records ({} bytes) to stream {} in {:.1} s: {:.1} records/s.",
            self.records,
            self.bytes,
            self.stream,
            self.seconds,
            self.rate()
        )?;
        if let (Some(first), Some(last)) = (self.first_event_time, self.last_event_time) {
            writeln!(out, "Event times {first:.3} to {last:.3}.")?;
        }
        writeln!(
            out,
            "Retried {}, throttled {}, unanswered {}.",
            self.retried, self.throttled, self.unanswered
        )?;
        if self.unanswered > 0 {
            writeln!(
                out,
                "Records whose call was not answered were sent again: they may be in the stream twice."
            )?;
        }
        for (ticker, records) in self.per_ticker.iter().take(TICKERS_SHOWN) {
            writeln!(out, "  {ticker}: {records}")?;
        }
        if self.per_ticker.len() > TICKERS_SHOWN {
            writeln!(
                out,
                "  and {} more tickers",
                self.per_ticker.len() - TICKERS_SHOWN
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn summary() -> ReplaySummary {
        ReplaySummary {
            stream: "stock_stream".into(),
            records: 30,
            bytes: 3000,
            seconds: 2.0,
            retried: 4,
            throttled: 3,
            unanswered: 1,
            first_event_time: Some("2026-01-02T03:04:05Z".parse().unwrap()),
            last_event_time: Some("2026-01-02T03:04:07.5Z".parse().unwrap()),
            stopped: false,
            per_ticker: (0..21).map(|ticker| (format!("T{ticker:02}"), 1)).collect(),
        }
    }

    #[test]
    fn people_see_the_figures_and_the_first_tickers() {
        let text = summary().to_string();
        assert!(
            text.starts_with(
                "Sent 30 records (3000 bytes) to stream stock_stream in 2.0 s: 15.0 records/s.\n"
            ),
            "{text}"
        );
        assert!(
            text.contains("Event times 2026-01-02T03:04:05.000Z to 2026-01-02T03:04:07.500Z."),
            "{text}"
        );
        assert!(text.contains("may be in the stream twice"), "{text}");
        assert!(text.contains("T19: 1\n  and 1 more tickers"), "{text}");
        assert!(
            ReplaySummary {
                stopped: true,
                ..summary()
            }
            .to_string()
            .starts_with("Stopped after 30")
        );
    }

    #[test]
    fn json_has_every_ticker() {
        let json = serde_json::to_value(summary()).unwrap();
        assert_eq!(json["records"], 30);
        assert_eq!(json["first_event_time"], "2026-01-02T03:04:05Z");
        assert_eq!(json["per_ticker"].as_object().unwrap().len(), 21);
    }
}
