//! `stockstream replay`.

use super::aws;
use super::signals::StopSignals;
use crate::cli::output::print;
use crate::cli::{ExitStatus, Failure, Outcome};
use crate::replay::progress::ConsoleObserver;
use crate::replay::{ReplayArgs, run as replay};

/// `stockstream replay`.
pub async fn run(args: ReplayArgs) -> Outcome {
    let mut signals = StopSignals::listen()?;
    let client = aws::kinesis(args.region.as_deref(), args.endpoint_url.as_deref()).await?;
    let mut observer = ConsoleObserver::new();
    let summary = replay(&client, args.options(), &mut observer, signals.next())
        .await
        .map_err(Failure::failed)?;
    print(&format!("{summary}\n"))?;
    Ok(ExitStatus::Done)
}
