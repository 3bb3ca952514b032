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
