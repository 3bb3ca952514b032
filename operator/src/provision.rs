//! Bringing about what AWS has: the stream, the tables, the buckets.
//!
//! Owns when each part is looked at, and for how long a reconcile waits for it. Must never let one part, or an API that
//! doesn't answer, hold up another part or what Kubernetes has: a look goes on by itself, and a later reconcile finds it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use stockstream_crds::spec::StockStreamStatus;
use stockstream_crds::{Pipeline, StockStream};
use tokio::time::Instant;

use crate::aws::State;
use crate::aws::storage::places;
use crate::aws::stream_plan::Owner;
use crate::aws::table_plan::tables;
use crate::context::Context;
use crate::events;
use crate::memory::Memory;

/// The region of buckets when no stream and no catalog names one.
const DEFAULT_REGION: &str = "us-east-1";

/// A reconcile waits so long for AWS: mostly it answers sooner. What takes longer goes on without it.
const WAIT: Duration = Duration::from_secs(2);

/// A step that was taken: reason and message of its event.
pub type Done = (&'static str, String);

/// Changes of the number of shards that an operator before this one asked for.
pub fn recall_scalings(memory: &mut Memory, before: Option<&StockStreamStatus>) {
    let stream = before.and_then(|status| status.stream.as_ref());
    for text in stream
        .map(|stream| stream.scalings.as_slice())
        .unwrap_or_default()
    {
        if let Ok(at) = text.parse::<Timestamp>()
            && !memory.scalings.contains(&at)
        {
            memory.scalings.push(at);
        }
    }
    memory.scalings.sort_unstable();
}

/// Looks at every part that is due, all at once, and takes the next step of each. What was done, for events.
pub async fn provision(
    pipeline: &Pipeline,
    owner: &Owner,
    generation: i64,
    memory: &mut Memory,
    context: &Arc<Context>,
) -> Vec<Done> {
    let Memory {
        stream,
        catalog,
        storage,
        scalings,
        ..
    } = memory;
    stream.begin(generation, || {
        let (context, owner, pipeline) = (context.clone(), owner.clone(), pipeline.clone());
        let scalings = scalings.clone();
        async move {
            let kinesis = pipeline.kinesis()?;
            let streams = context.aws.of(&kinesis.region).await.streams;
            let now = Timestamp::now();
            Some(streams.reconcile(kinesis, &owner, &scalings, now).await)
        }
    });
    if pipeline.catalog().is_none() {
        catalog.forget();
    }
    catalog.begin(generation, || {
        let (context, owner, pipeline) = (context.clone(), owner.clone(), pipeline.clone());
        async move {
            let catalog = pipeline.catalog()?;
            let catalogs = context.aws.of(&catalog.region).await.catalogs;
            let wishes = tables(&pipeline);
            Some(catalogs.reconcile(catalog, &wishes, &owner).await)
        }
    });
    storage.begin(generation, || {
        let (context, pipeline) = (context.clone(), pipeline.clone());
        async move {
            let buckets = context.aws.of(region(&pipeline)).await.buckets;
            let places = places(&pipeline);
            Some(buckets.look(&places, pipeline.encryption()).await)
        }
    });
    let until = Instant::now() + WAIT;
    let (stream, catalog, _) = tokio::join!(
        stream.wait_until(until),
        catalog.wait_until(until),
        storage.wait_until(until),
    );
    let mut done = Vec::new();
    if let Some(found) = stream {
        scalings.extend(&found.scaled);
        done.extend(found.standing.done);
    }
    if let Some(found) = catalog {
        done.extend(found.standing.done);
    }
    done
}

/// The region of a pipeline's buckets, where nothing else says it.
pub fn region(pipeline: &Pipeline) -> &str {
    match (pipeline.kinesis(), pipeline.catalog()) {
        (Some(kinesis), _) => &kinesis.region,
        (None, Some(catalog)) => &catalog.region,
        (None, None) => DEFAULT_REGION,
    }
}

/// Workers are started once what they can't do without was there: the stream and the buckets.
pub fn may_start(memory: &Memory) -> bool {
    let is_ready = |state| state == Some(State::Ready);
    is_ready(memory.stream.found().map(|found| found.standing.state))
        && is_ready(memory.storage.found().map(|found| found.state))
}

/// Events of the steps that were taken.
pub async fn announce(resource: &StockStream, context: &Context, done: &[Done]) {
    // Steps of one kind are one event: Kubernetes would make a series of them that shows the first only.
    for steps in done.chunk_by(|(a, _), (b, _)| a == b) {
        let notes: Vec<&str> = steps.iter().map(|(_, note)| note.as_str()).collect();
        events::step(context, resource, steps[0].0, notes.join("; ")).await;
    }
}
