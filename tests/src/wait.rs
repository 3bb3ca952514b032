//! Waiting for a condition with a deadline.

use std::time::{Duration, Instant};

use anyhow::bail;

/// Asks until there is an answer. A suite's assertion is the answer, never how long it took.
///
/// # Errors
/// The question's own error at once; after `patience`, one that names `what` was waited for.
pub fn wait_until<T>(
    what: &str,
    patience: Duration,
    mut ask: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    const BETWEEN: Duration = Duration::from_millis(20);
    let begin = Instant::now();
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if begin.elapsed() > patience {
            bail!("waited {} s for {what}", patience.as_secs());
        }
        std::thread::sleep(BETWEEN);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn an_answer_ends_the_waiting_and_a_deadline_names_what_was_missing() {
        let mut asked = 0;
        let answer = wait_until("three", Duration::from_secs(60), || {
            asked += 1;
            Ok((asked == 3).then_some(asked))
        });
        assert_eq!(answer.unwrap(), 3);

        let error = wait_until("rain", Duration::ZERO, || Ok(None::<()>)).expect_err("no rain");
        assert!(error.to_string().contains("rain"), "{error}");
    }
}
