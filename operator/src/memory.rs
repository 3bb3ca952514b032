//! What an operator keeps in mind of each pipeline between two reconciles.
//!
//! Owns when AWS and workers are asked again. Nothing here is needed to be right: an operator that starts anew asks everything
//! once more.

use std::time::Duration;

use jiff::Timestamp;
use stockstream_crds::StockStreamStatus;
use tokio::time::Instant;

use crate::apply::Applied;
use crate::aws::Standing;
use crate::aws::error::AwsError;
use crate::aws::glue::CatalogLook;
use crate::aws::kinesis::StreamLook;
use crate::look::{Part, Task};
use crate::workers::Told;

/// What is kept of one pipeline.
#[derive(Debug, Default)]
pub struct Memory {
    /// What was applied.
    pub applied: Applied,
    /// The stream.
    pub stream: Part<StreamLook>,
    /// The catalog.
    pub catalog: Part<CatalogLook>,
    /// The buckets.
    pub storage: Part<Standing>,
    /// The deletion of what lies in AWS: whether all of it has gone.
    pub ending: Task<Result<bool, AwsError>>,
    /// When the end is gone on with: nothing that wakes a reconcile up makes it sooner.
    pub end_again: Option<Instant>,
    /// Changes of the number of shards that this operator asked for and the status may not show yet.
    pub scalings: Vec<Timestamp>,
    /// The status that was written last, and when.
    written: Option<(Instant, StockStreamStatus)>,
    /// What the workers told last, when, and at which addresses they were asked.
    pub asked: Option<(Instant, Vec<String>, Told)>,
    /// Ticks over all shards, and when that was told.
    pub ticks: Option<(u64, Instant)>,
    /// Ticks a second, as they were told last.
    pub tick_rate: Option<u64>,
    /// How often in a row the workers' answers changed nothing.
    pub quiet: u32,
    /// Reconciles in a row that failed.
    pub failures: u32,
}

/// Workers are asked after this, when there was something new.
const ASK_AGAIN: Duration = Duration::from_secs(10);
/// And after this, when there has been nothing for long.
const ASK_AT_MOST: Duration = Duration::from_secs(60);

/// The watch brings what was written within so long.
const SEEN_WITHIN: Duration = Duration::from_secs(3);

impl Memory {
    /// The status that was written a moment ago: the watch may not have brought it yet.
    pub fn written(&self) -> Option<StockStreamStatus> {
        let (at, status) = self.written.as_ref()?;
        (at.elapsed() < SEEN_WITHIN).then(|| status.clone())
    }

    /// A status was written now.
    pub fn wrote(&mut self, status: &StockStreamStatus) {
        self.written = Some((Instant::now(), status.clone()));
    }

    /// When the workers are to be asked again.
    pub fn ask_again(&self) -> Duration {
        let factor = 2_u32.saturating_pow(self.quiet.min(8));
        ASK_AGAIN.saturating_mul(factor).min(ASK_AT_MOST)
    }

    /// Waits for the looks that are under way.
    pub async fn settle(&mut self, until: Instant) {
        let _ = tokio::join!(
            self.stream.wait_until(until),
            self.catalog.wait_until(until),
            self.storage.wait_until(until),
        );
    }

    /// True while AWS is being looked at.
    pub fn is_looking(&self) -> bool {
        self.stream.is_under_way() || self.catalog.is_under_way() || self.storage.is_under_way()
    }

    /// The earliest moment at which a look is to be taken again, or one that is under way is to be fetched.
    pub fn due(&self, generation: i64) -> Option<Instant> {
        [
            self.stream.due(generation),
            self.catalog.due(generation),
            self.storage.due(generation),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}
