//! A tick's JSON, as the pipeline's default record mapping reads it.

use bytes::Bytes;
use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;

use super::rows::Row;

/// The fields of a tick in the order in which they are written; absent figures are left out.
#[derive(Serialize)]
struct Tick<'a> {
    ticker: &'a str,
    date: Date,
    timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    open: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    high: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    low: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    close: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    volume: Option<i64>,
}

/// One row as JSON, stamped with its event time (UTC, microseconds, `Z`).
pub(super) fn encode(ticker: &str, row: &Row, event_time: Timestamp) -> Bytes {
    let tick = Tick {
        ticker,
        date: row.date,
        timestamp: format!("{event_time:.6}"),
        open: row.open,
        high: row.high,
        low: row.low,
        close: row.close,
        volume: row.volume,
    };
    // A struct of strings and finite numbers always has a JSON form.
    serde_json::to_vec(&tick)
        .map(Bytes::from)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn absent_figures_are_absent_and_times_have_six_digits() {
        let mut row = Row {
            at: 0,
            date: "2015-01-02".parse().unwrap(),
            ticker: 0,
            open: None,
            high: None,
            low: None,
            close: Some(24.532),
            volume: None,
        };
        let time: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        assert_eq!(
            encode("AAPL", &row, time),
            r#"{"ticker":"AAPL","date":"2015-01-02","timestamp":"2026-01-02T03:04:05.000000Z","close":24.532}"#
        );
        row.open = Some(43.461999999999996);
        row.volume = Some(2_708_700_000);
        assert_eq!(
            encode("^GSPC", &row, time),
            r#"{"ticker":"^GSPC","date":"2015-01-02","timestamp":"2026-01-02T03:04:05.000000Z","open":43.461999999999996,"close":24.532,"volume":2708700000}"#
        );
    }
}
