//! A pipeline from its start to its end, over several lives of its stream.
//!
//! Owns beginning again when the stream was made anew. Must never begin again for any other reason: what went wrong is
//! told, and whoever runs the process decides.

use std::sync::Arc;

use stockstream_crds::Pipeline;
use stockstream_crds::spec::OnDataLoss;
use tokio::sync::watch;

use super::coordinator::{Company, Coordinator};
use super::error::PipelineError;
use super::shard::Orders;
use super::start::{Host, Started, Stores, start_stream};
use crate::source::kinesis::StreamClient;

/// What a pipeline is started from.
#[derive(Clone)]
pub struct StreamSource {
    /// The spec.
    pub pipeline: Pipeline,
    /// Where state and output lie.
    pub stores: Stores,
    /// The stream.
    pub client: Arc<dyn StreamClient>,
    /// The worker.
    pub host: Host,
    /// What happens when records were lost, where it isn't the spec's to say.
    pub on_data_loss: Option<OnDataLoss>,
}

impl StreamSource {
    /// Prepares the pipeline: when this returns, where reading begins is fixed.
    ///
    /// # Errors
    /// Whatever keeps it from reading, in words for people.
    pub async fn start(&self) -> Result<Started, PipelineError> {
        let client = self.client.clone();
        let mut started =
            start_stream(&self.pipeline, self.stores.clone(), client, &self.host).await?;
        started.on_data_loss = self.on_data_loss.unwrap_or(started.on_data_loss);
        Ok(started)
    }
}

/// Runs a prepared pipeline until it is ordered to stop, or can't go on. When the stream was made anew, the old life is
/// brought to its end and the new one is read.
///
/// # Errors
/// Why it can't go on; everything committed before is safe.
pub async fn run_stream(
    source: StreamSource,
    started: Started,
    mut company: Company,
    orders: watch::Receiver<Orders>,
) -> Result<(), PipelineError> {
    let mut started = started;
    loop {
        let coordinator = Coordinator::join(started, &mut company, orders.clone()).await?;
        match coordinator.run().await {
            Err(error @ PipelineError::StreamChanged { .. }) if *orders.borrow() == Orders::Run => {
                tracing::warn!(event = "stream_changed", cause = %error, "beginning with its new life");
                started = source.start().await?;
            }
            ended => return ended,
        }
    }
}
