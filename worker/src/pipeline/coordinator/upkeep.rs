//! Shards that are owned and get on with nothing.

use std::time::Duration;

use tokio::time::Instant;

use super::Coordinator;
use crate::observe::ConditionStatus;

/// Between two looks of a process that runs: listings come every ten seconds, and fail after thirty.
const USUAL: Duration = Duration::from_secs(60);

impl Coordinator<'_> {
    /// Raises the alarm for shards that this worker holds and that stand still, and ends it when they get on.
    pub(super) fn watch_progress(&mut self) {
        let (now, context) = (Instant::now(), &self.started.context);
        let before = self.looked_after.replace(now);
        if before.is_some_and(|before| now.saturating_duration_since(before) > USUAL) {
            // The process was stopped, or the machine slept.
            context.progress.excuse();
        }
        let stalled = context.progress.stalled();
        let (status, reason, message) = match stalled.iter().max_by_key(|(_, waited)| *waited) {
            None if !self.stalled => return,
            None => (
                ConditionStatus::True,
                "GettingOn",
                "every shard of this worker gets on".to_owned(),
            ),
            Some((shard, waited)) => (
                ConditionStatus::False,
                "Stalled",
                format!(
                    "{} shards of this worker neither read nor commit nor publish, {shard} for {} s: the other conditions and \
                     the log say why; without a reason there, end this worker, and others take them",
                    stalled.len(),
                    waited.as_secs()
                ),
            ),
        };
        let shards: Vec<&String> = stalled.iter().map(|(shard, _)| shard).collect();
        if !shards.is_empty() {
            tracing::error!(event = "no_progress", ?shards, "{message}");
        }
        let at = context.clock.wall().0;
        context
            .observer
            .set_condition("ShardsProgress", status, reason, message, at);
        self.stalled = !shards.is_empty();
    }
}
