//! Bringing about what AWS has: the stream, the tables, the buckets.
//!
//! Owns when each part is looked at, and for how long a reconcile waits for it. Must never let one part, or an API that
//! doesn't answer, hold up another part or what Kubernetes has: a look goes on by itself, and a later reconcile finds it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
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
    let has_begun = !context.is_ending.load(Ordering::Relaxed)
        && begin(pipeline, owner, generation, memory, context);
    let Memory {
        stream,
        catalog,
        storage,
        scalings,
        ..
    } = memory;
    // One that was waited for before is only fetched.
    let now = Instant::now();
    let until = if has_begun { now + WAIT } else { now };
    tokio::join!(
        stream.wait_until(until),
        catalog.wait_until(until),
        storage.wait_until(until),
    );
    let mut done = Vec::new();
    for found in stream.take_news() {
        scalings.extend(&found.scaled);
        done.extend(found.standing.done);
    }
    for found in catalog.take_news() {
        done.extend(found.standing.done);
    }
    drop(storage.take_news());
    done
}

/// Begins to look at every part that is due; whether any was.
fn begin(
    pipeline: &Pipeline,
    owner: &Owner,
    generation: i64,
    memory: &mut Memory,
    context: &Arc<Context>,
) -> bool {
    let scalings = memory.scalings.clone();
    let stream = memory.stream.begin(generation, || {
        let (context, owner, pipeline) = (context.clone(), owner.clone(), pipeline.clone());
        async move {
            let kinesis = pipeline.kinesis()?;
            let streams = context.aws.of(&kinesis.region).await.streams;
            let now = Timestamp::now();
            Some(streams.reconcile(kinesis, &owner, &scalings, now).await)
        }
    });
    let catalog = match pipeline.catalog() {
        None => {
            memory.catalog.forget();
            false
        }
        Some(_) => memory.catalog.begin(generation, || {
            let (context, owner, pipeline) = (context.clone(), owner.clone(), pipeline.clone());
            async move {
                let catalog = pipeline.catalog()?;
                let catalogs = context.aws.of(&catalog.region).await.catalogs;
                let wishes = tables(&pipeline);
                Some(catalogs.reconcile(catalog, &wishes, &owner).await)
            }
        }),
    };
    let storage = memory.storage.begin(generation, || {
        let (context, pipeline) = (context.clone(), pipeline.clone());
        async move {
            let buckets = context.aws.of(region(&pipeline)).await.buckets;
            let places = places(&pipeline);
            Some(buckets.look(&places, pipeline.encryption()).await)
        }
    });
    stream || catalog || storage
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
pub fn may_start(memory: &Memory, generation: i64) -> bool {
    let is_ready = |state| state == Some(State::Ready);
    let stream = memory.stream.found_for(generation);
    let storage = memory.storage.found_for(generation);
    is_ready(stream.map(|found| found.standing.state)) && is_ready(storage.map(|found| found.state))
}

/// Events of the steps that were taken.
pub async fn announce(resource: &StockStream, context: &Context, done: &[Done]) {
    // Steps of one kind are one event: Kubernetes would make a series of them that shows the first only.
    for steps in done.chunk_by(|(a, _), (b, _)| a == b) {
        let notes: Vec<&str> = steps.iter().map(|(_, note)| note.as_str()).collect();
        events::step(context, resource, steps[0].0, notes.join("; ")).await;
    }
}
